"""Setting right what a killed process or a power cut left, before a writer begins."""

from __future__ import annotations

from pathlib import Path

from ptrarray.format import journal as layout
from ptrarray.format.index import IndexHeader, corrupt, is_data_file, is_mask_file
from ptrarray.format.journal import JournalHeader
from ptrarray.storage import files
from ptrarray.storage.index import NEW_FILE_NAME
from ptrarray.storage.journal import Journal
from ptrarray.storage.recovery import surviving


def settle(journal: Journal, header: IndexHeader) -> JournalHeader:
    """Bring a journal up to the index that is in place. Under the lock.

    The second half of a checkpoint, which a killed one leaves to the next
    writer; after a power cut, what survived of the journal.

    Raises
    ------
    CorruptStoreError
        If the two do not belong together.
    """
    state = journal.read_header()
    is_same = state.store_id == header.store_id
    if state.generation > header.generation or (
        state.generation == header.generation and not is_same
    ):
        raise corrupt(journal.path, "does not belong to the index beside it")
    if state.generation == header.generation:
        return _recovered(journal, state, header)
    state = JournalHeader(
        store_id=header.store_id,
        boot_id=state.boot_id,
        generation=header.generation,
        committed_end=layout.RECORDS_START,
        synced_end=layout.RECORDS_START,
        n_reserved=header.n_reserved,
    )
    journal.reset(state)
    return state


def _recovered(journal: Journal, state: JournalHeader, header: IndexHeader) -> JournalHeader:
    if state.boot_id == files.boot_id():
        if state.next_generation:  # a checkpoint was killed before it put its index in place
            state = state._replace(next_generation=0)
            journal.write_header(state)
        return state
    state = surviving(journal, state, header)
    return journal.recover(state._replace(boot_id=files.boot_id(), next_generation=0))


def remove_leftovers(directory: Path, header: IndexHeader) -> None:
    """Remove what killed processes began and nobody uses. Under the lock."""
    in_use = (header.data_file, header.mask_file)
    for path in directory.iterdir():
        name = path.name
        is_ours = name == NEW_FILE_NAME or is_data_file(name) or is_mask_file(name)
        if is_ours and name not in in_use:
            files.unlink(path)
