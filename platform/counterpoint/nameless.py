"""Files of a request lie on disk without a name, so that nothing of them outlives the process.

Django's own handler names them in the temporary folder: a site that is killed in the middle of an
upload leaves them there, readable, outside of everything that is sealed.
"""

from __future__ import annotations

import tempfile
import weakref
from typing import IO, Any

from django.conf import settings
from django.core.files.uploadedfile import UploadedFile
from django.core.files.uploadhandler import FileUploadHandler


class NamelessFileUploadHandler(FileUploadHandler):
    """Streams each file to disk, whatever its size; the disk has it back when it is closed."""

    file: UploadedFile[bytes]

    def new_file(self, *args: Any, **kwargs: Any) -> None:
        super().new_file(*args, **kwargs)
        held: IO[bytes] = tempfile.TemporaryFile(dir=settings.FILE_UPLOAD_TEMP_DIR)  # noqa: SIM115
        self.file = UploadedFile(
            held, self.file_name, self.content_type, 0, self.charset, self.content_type_extra
        )
        # The request closes whole files; one that broke off is left to the garbage collector.
        weakref.finalize(self.file, held.close)

    def receive_data_chunk(self, raw_data: bytes, start: int) -> None:  # noqa: ARG002 - Django's name
        self.file.write(raw_data)

    def file_complete(self, file_size: int) -> UploadedFile[bytes]:
        self.file.seek(0)
        self.file.size = file_size
        return self.file
