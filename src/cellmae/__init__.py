"""From the images of a high-content screen to a scored map of biology, with masked autoencoders.

One subpackage a stage, in the order in which data flow through them: ``screen``, ``tiles``, ``models`` and
``pretraining``, ``embeddings``, ``alignment``, ``maps``, ``report``. Each imports only from the ones before it.
"""

from importlib.metadata import version

__version__ = version("cellmae")
