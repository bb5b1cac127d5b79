"""Wells in chunks, and which batch they belong to."""

import numpy as np
import pytest

from cellmae.alignment.chunks import ArrayChunks, BatchRows, PlateChunks, walk


def listed(groups):
    return {batch: np.arange(99)[rows].tolist() for batch, rows in groups}


def test_rows_are_grouped_in_the_order_of_names():
    rows = BatchRows.of(["b", "a", "b", "c", "c"], np.array([True, False, False, True, True]))
    assert rows.names.tolist() == ["a", "b", "c"]
    assert listed(rows.groups()) == {0: [1], 1: [0, 2], 2: [3, 4]}
    assert dict(rows.groups())[2] == slice(3, 5)
    assert rows.control_counts.tolist() == [0, 1, 2]
    assert listed(rows.controls_only().groups()) == {1: [0], 2: [3, 4]}
    assert listed(rows[slice(1, 3)].groups()) == {0: [0], 1: [1]}


def test_wells_of_other_batches_belong_to_none():
    rows = BatchRows.of(["b", "a", "b", "c"], np.zeros(4, dtype=bool)).without(np.array(["b", "x"]))
    assert rows.names.tolist() == ["a", "c"]
    assert listed(rows.groups()) == {0: [1], 1: [3]}
    assert not rows.without(np.array(["a", "c"])).names.size


@pytest.mark.parametrize("size", [1, 3, 7, None])
def test_array_comes_back_in_pieces(size):
    X = np.arange(14.0).reshape(7, 2)
    chunks = ArrayChunks(X, size)
    np.testing.assert_array_equal(np.concatenate([chunks.read(number) for number in range(len(chunks.rows))]), X)
    np.testing.assert_array_equal(np.concatenate([X[rows] for rows in chunks.rows]), X)


def plates(unreadable=()):
    """Three plates of three, no and two wells, of which the second of the first plate does not count."""

    def reader(number, wells):
        def read():
            assert number not in unreadable
            return np.full((wells, 2), number) + np.arange(wells)[:, None] / 10

        return read

    readers = [reader(number, wells) for number, wells in enumerate((3, 1, 2))]
    return PlateChunks(readers, [np.array([True, False, True]), np.array([False]), np.array([True, True])], 2)


def test_wells_of_plates_that_do_not_count_are_left_out():
    chunks = plates()
    assert chunks.shape == (4, 2)
    assert chunks.rows == [slice(0, 2), slice(2, 2), slice(2, 4)]
    assert chunks.read(0)[:, 0].tolist() == [0, 0.2]


def test_only_plates_with_wells_of_the_batches_are_read():
    batches = BatchRows.of(["a", "a", "a", "b"], np.zeros(4, dtype=bool))
    ((rows, X, own),) = walk(plates(unreadable=(0, 1)), batches.without(np.array(["a"])))
    assert rows.tolist() == [3]
    assert X[:, 0].tolist() == [2.1]
    assert listed(own.groups()) == {0: [0]}
