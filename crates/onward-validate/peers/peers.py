"""fhir.resources on the documents of a folder: milliseconds of CPU for parse and validation, the best of several rounds."""

import pathlib
import sys
import time

from fhir.resources.R4B.bundle import Bundle

for path in sorted(pathlib.Path(sys.argv[1]).iterdir(), key=lambda path: int(path.stem)):
    text = path.read_bytes()
    best, errors = float("inf"), 0
    for _ in range(12):
        before = time.process_time()
        try:
            Bundle.model_validate_json(text)
            errors = 0
        except ValueError as error:
            errors = len(getattr(error, "errors", lambda: [error])())
        best = min(best, (time.process_time() - before) * 1000)
    print(f"{len(text):7} bytes: fhir.resources {best:.2f} ms of CPU, {errors} errors")
