"""Sends one message with the NHS's own client and prints its MESH identifier.

usage: send.py URL FROM TO PASSWORD SHARED_KEY WORKFLOW LOCAL_ID CHUNK_BYTES COMPRESS < body
"""

import sys

from mesh_client import MeshClient

url, sender, recipient, password, shared_key, workflow, local_id, chunk_bytes, compress = sys.argv[1:]
with MeshClient(url, sender, password, shared_key=shared_key.encode(), max_retries=0, timeout=10) as client:
    client.handshake()
    message = client.send_message(
        recipient,
        sys.stdin.buffer.read(),
        max_chunk_size=int(chunk_bytes),
        compress=compress == "gzip",
        workflow_id=workflow,
        local_id=local_id,
        content_type="application/fhir+xml",
    )
    print(message)
