"""How much is taken of what comes from outside. Each bound is a setting, checked before memory or disk is used."""

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

MB = 1_000_000


def _bound(default: int, of: str) -> int:
    """A setting with a whole number above 0; ``of`` says what it bounds."""
    bound: int = Field(default, gt=0, title=of)
    return bound


class Bounds(BaseSettings):
    """The largest values that are accepted. The comments give those of the TLC's files, which are far below."""

    model_config = SettingsConfigDict(env_ignore_empty=True)

    # 70 MB for 3.8 million yellow trips, 500 MB for the largest file of any type.
    tlc_max_file_mb: int = _bound(1_000, "size in MB")
    # A file is kept on disk while it is loaded, and other programs also need space there.
    tlc_min_free_mb: int = _bound(500, "room in MB that a download leaves on the disk")
    # The lookup has 12 KB, the shapefile 1 MB, and 1.5 MB unpacked. They are read into memory as a whole.
    tlc_max_zones_mb: int = _bound(20, "size in MB, unpacked,")
    # 7 parts of a shapefile, in a folder.
    tlc_max_zip_entries: int = _bound(100, "number of entries")
    # 11 KB for 20 columns and one row group. Decoding it takes several times its size in memory.
    tlc_max_metadata_mb: int = _bound(16, "size of the metadata in MB")
    # 22 in all eras.
    tlc_max_columns: int = _bound(200, "number of columns")
    # 3.8 million since 2019, and 16 million before.
    tlc_max_rows: int = _bound(100_000_000, "number of rows")
    # 31 bytes a row: 120 MB where 3.8 million trips are one row group. A page of it is decompressed as a whole.
    tlc_max_row_group_mb: int = _bound(700, "decompressed size of a row group in MB")
    # One letter. A text that is repeated takes its space in the file once, in memory and warehouse once per row.
    tlc_max_text_bytes: int = _bound(1_000, "size of a text in bytes")
