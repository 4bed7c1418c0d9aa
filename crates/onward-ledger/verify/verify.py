#!/usr/bin/env python3
"""Checks Onward's audit log without Onward: a second implementation that shares no code with the first.

It needs Python 3.9 and nothing else: no database, no network, no package. Ed25519 is written out below, from RFC 8032.

  verify.py checkpoint --key log.pub checkpoint.txt
  verify.py proof      --key log.pub entry-17.tlog-proof [--entry entry.json]
  verify.py log        --key log.pub --checkpoint checkpoint.txt [--checkpoint older.txt ...] audit.ndjson

The files come from `onward audit key`, `audit checkpoint`, `audit prove` and `audit export --evidence`: each line an entry, with
the event to which it commits unless that was erased. With --witness witness.pub (repeatable) each of these must have cosigned. A
checkpoint that the auditor or a witness kept shows that nothing before it was changed or removed.

Specifications: RFC 6962 section 2.1, C2SP signed-note, tlog-checkpoint, tlog-cosignature, tlog-proof, RFC 8032 (Ed25519).
Exit code: 0 it holds, 1 it does not, 2 wrong usage or a file that cannot be read.
"""

import argparse
import base64
import functools
import hashlib
import hmac
import itertools
import json
import pathlib
import re
import sys

NAME = r"[^\s+\x00-\x1f]+"
LIMIT = "limit: without a witness (--witness), a log that was cut back and signed anew cannot be told from a shorter log"


class DoesNotHold(Exception):
    """What is claimed is not what was signed."""


def need(condition, otherwise):
    if not condition:
        raise DoesNotHold(otherwise)


# Ed25519, verification only (RFC 8032 sections 5.1.3 and 5.1.7). Nothing secret is handled, so nothing needs constant time.

P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P
ROOT_OF_MINUS_ONE = pow(2, (P - 1) // 4, P)


def add(a, b):
    """Sum of two points in extended coordinates (X, Y, Z, T)."""
    e, f = (a[1] - a[0]) * (b[1] - b[0]) % P, (a[1] + a[0]) * (b[1] + b[0]) % P
    g, h = 2 * a[3] * b[3] * D % P, 2 * a[2] * b[2] % P
    w, x, y, z = f - e, h - g, h + g, f + e
    return (w * x % P, y * z % P, x * y % P, w * z % P)


def times(scalar, point):
    """Scalar multiple of a point."""
    result = (0, 1, 1, 0)
    while scalar:
        result = add(result, point) if scalar & 1 else result
        point, scalar = add(point, point), scalar >> 1
    return result


def decompress(encoded):
    """The point of 32 bytes; None when they are not the one canonical encoding of a point."""
    sign, y = encoded[31] >> 7, int.from_bytes(encoded, "little") & ((1 << 255) - 1)
    if y >= P:
        return None
    x2 = (y * y - 1) * pow(D * y * y + 1, P - 2, P) % P
    x = pow(x2, (P + 3) // 8, P)
    x = x * ROOT_OF_MINUS_ONE % P if (x * x - x2) % P else x
    if (x * x - x2) % P or (x == 0 and sign):
        return None
    return (x, y, 1, x * y % P) if x & 1 == sign else (P - x, y, 1, (P - x) * y % P)


BASE = decompress((4 * pow(5, P - 2, P) % P).to_bytes(32, "little"))


def is_signed(public, signature, message):
    """Whether the 64 bytes are this key's signature of the message."""
    key, s = decompress(public), int.from_bytes(signature[32:], "little")
    if key is None or len(signature) != 64 or s >= L:
        return False
    challenge = int.from_bytes(hashlib.sha512(signature[:32] + public + message).digest(), "little") % L
    negative = (P - key[0], key[1], key[2], P - key[3])
    x, y, z, _ = add(times(s, BASE), times(challenge, negative))
    x, y = (coordinate * pow(z, P - 2, P) % P for coordinate in (x, y))
    return (y | (x & 1) << 255).to_bytes(32, "little") == signature[:32]


def hash_of(*parts):
    """SHA-256; before a leaf stands the byte 0, before a node's two children the byte 1 (RFC 6962 section 2.1)."""
    return hashlib.sha256(b"".join(parts)).digest()


class Tree:
    """The right edge of a growing tree: one root for each set bit of its size."""

    def __init__(self):
        self.size, self.edge = 0, []

    def push(self, leaf):
        size, node = self.size, leaf
        while size & 1:
            node, size = hash_of(b"\x01", self.edge.pop(), node), size >> 1
        self.edge.append(node)
        self.size += 1

    def root(self):
        if not self.edge:
            return hash_of()
        return functools.reduce(lambda right, left: hash_of(b"\x01", left, right), reversed(self.edge))


def root_of_path(leaf, index, size, path):
    """The root to which the path leads from this leaf (RFC 9162 section 2.1.3.2)."""
    need(index < size, f"entry {index} lies outside the signed log of {size}")
    node, position, last = leaf, index, size - 1
    for step in path:
        need(last, "the path is too long")
        if position & 1 or position == last:
            node = hash_of(b"\x01", step, node)
            while position & 1 == 0 and position:
                position, last = position >> 1, last >> 1
        else:
            node = hash_of(b"\x01", node, step)
        position, last = position >> 1, last >> 1
    need(not last, "the path is too short")
    return node


def unbase64(text, what, size=None):
    try:
        data = base64.b64decode(text, validate=True)
    except ValueError:
        raise DoesNotHold(f"{what} is not base64") from None
    need(base64.b64encode(data).decode() == text, f"{what} is not written in the one canonical way")
    need(size in (None, len(data)), f"{what} has not {size} bytes")
    return data


def number(text, what):
    need(re.fullmatch(r"0|[1-9][0-9]{0,19}", text), f"{what} is not a decimal number without leading zeros")
    return int(text)


def read_key(text, kind=1):
    """Name, key id and public key of `name+keyid+base64`; kind 1 is a log's, 4 a witness's."""
    found = re.fullmatch(rf"({NAME})\+([0-9a-f]{{8}})\+(\S+)", text.strip())
    need(found, "the key file holds no key in signed-note form")
    name, key_id, typed = found[1], bytes.fromhex(found[2]), unbase64(found[3], "the key", 33)
    own = hashlib.sha256(name.encode() + b"\n" + typed).digest()[:4] == key_id
    need(own and typed[0] == kind, "the key is not an Ed25519 key of its kind, name and key id")
    return name, key_id, typed[1:]


def read_keys(text):
    """The keys of a log, newest first, each with the number of entries up to which it vouches where it is retired."""
    lines = [line.partition(" until ") for line in text.strip().split("\n")]
    keys = [(read_key(key), number(until, "a key's last size") if retired else None) for key, retired, until in lines]
    need(len({key[0] for key, _ in keys}) == 1, "the key file holds keys of different logs")
    return keys


def signatures_of(note, key):
    """The text of a note, and what this key signed under it (without the key id)."""
    text, separator, lines = note.rpartition("\n\n")
    need(separator and lines.endswith("\n"), "the checkpoint is no signed note")
    own = []
    for line in lines[:-1].split("\n"):
        found = re.fullmatch(rf"\u2014 ({NAME}) (\S+)", line)
        need(found, "the checkpoint has a malformed signature line")
        data = unbase64(found[2], "a signature")
        if found[1] == key[0] and data[:4] == key[1]:
            own.append(data[4:])
    return text + "\n", own


def cosigned(note, witness):
    """When the witness cosigned, in seconds since 1970; None when it did not."""
    text, own = signatures_of(note, witness)
    for data in own:
        message = f"cosignature/v1\ntime {int.from_bytes(data[:8], 'big')}\n{text}".encode()
        need(is_signed(witness[2], data[8:], message), "a cosignature does not fit the checkpoint")
    return max((int.from_bytes(data[:8], "big") for data in own), default=None)


def read_checkpoint(note, keys):
    """Size and root that one of the log's keys signed and may vouch for."""
    signed, lines = [], note.rpartition("\n\n")[0].split("\n")
    for key, until in keys:
        text, own = signatures_of(note, key)
        need(all(is_signed(key[2], data, text.encode()) for data in own), "a signature does not fit the checkpoint's text")
        signed += [until] if own else []
    need(len(lines) == 3 and lines[0] == key[0], "the checkpoint has not exactly three lines, the first this log's name")
    size = number(lines[1], "the tree size")
    vouched = None in signed or size <= max(signed, default=-1)
    need(vouched, "the checkpoint is signed by none of the log's keys, or only by one that was retired before")
    return size, unbase64(lines[2], "the root", 32)


def check_proof(text, keys, entry):
    """Index of the entry and size of the log in which it is proven to stand."""
    head, separator, note = text.partition("\n\n")
    lines = head.split("\n")
    need(separator and lines.pop(0) == "c2sp.org/tlog-proof@v1", "the file is no tlog-proof")
    leaves = {leaf_of_line(entry)[0]} if entry is not None else set()
    if lines and lines[0].startswith("extra "):
        leaves.add(leaf_of_line(unbase64(lines.pop(0)[6:], "the extra line"))[0])
    need(len(leaves) == 1, "the proof needs one entry, its own or that of --entry, and not two different ones")
    need(lines and lines[0].startswith("index "), "the index is missing")
    index = number(lines.pop(0)[6:], "the index")
    path = [unbase64(line, "a hash of the path", 32) for line in lines]
    size, root = read_checkpoint(note, keys)
    need(root_of_path(leaves.pop(), index, size, path) == root, "the path does not lead from this entry to the signed root")
    return index, size


def leaf_of_line(line):
    """Leaf of a line of evidence, and whether its event is shown: then it must be the one to which the entry commits."""
    try:
        shown = json.loads(line)
        if set(shown) == {"leaf"}:
            return bytes.fromhex(shown["leaf"]), False
        entry, event = shown["entry"], shown.get("event")
        if event is not None:
            tag = hmac.new(bytes.fromhex(shown["opening"]), event.encode(), hashlib.sha256).hexdigest()
            need(tag == json.loads(entry)["commitment"], "an event is not the one to which its entry commits")
        return hash_of(b"\x00", entry.encode()), event is not None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise DoesNotHold("a line is no line of evidence") from None


def check_log(lines, checkpoints):
    """Number of entries, how many of them are signed for, and how many show their event."""
    due = sorted(checkpoints)
    covered, tree, events = due[-1][0], Tree(), 0
    for line in itertools.chain([None], lines):  # A checkpoint may be of the empty log.
        if line is not None:
            need(line.endswith(b"\n"), f"entry {tree.size} breaks off")
            leaf, is_shown = leaf_of_line(line)
            tree.push(leaf)
            events += is_shown
        while due and due[0][0] == tree.size:
            need(due.pop(0)[1] == tree.root(), f"the first {tree.size} entries are not those that were signed")
    need(not due, f"the log ends after {tree.size} entries, but {covered} were signed")
    return tree.size, covered, events


def main():
    usage = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    usage.add_argument("command", choices=("checkpoint", "proof", "log"))
    usage.add_argument("file")
    usage.add_argument("--key", required=True, help="the log's public keys (onward audit key)")
    usage.add_argument("--witness", action="append", default=[], help="a witness's public key")
    usage.add_argument("--entry", help="proof: the entry, where the proof does not carry it")
    usage.add_argument("--checkpoint", action="append", help="log: a signed checkpoint; more may be given")
    given = usage.parse_args()
    if given.command == "log" and not given.checkpoint:
        usage.error("log needs a --checkpoint")

    def text(path):
        return pathlib.Path(path).read_bytes().decode()

    try:
        keys, said = read_keys(text(given.key)), [LIMIT] * (given.command != "proof" and not given.witness)
        name = keys[0][0][0]
        notes = [text(path) for path in (given.checkpoint if given.command == "log" else [given.file])]
        notes = [note.partition("\n\n")[2] for note in notes] if given.command == "proof" else notes
        for witness in (read_key(text(path), 4) for path in given.witness):
            times = [time for time in (cosigned(note, witness) for note in notes) if time is not None]
            need(times, f"the witness {witness[0]} has not cosigned")
            said.append(f"cosigned by {witness[0]} at {max(times)} (seconds since 1970)")
        if given.command == "checkpoint":
            size, root = read_checkpoint(notes[0], keys)
            said.insert(0, f"holds: {name} signed {size} entries, root {root.hex()}")
        elif given.command == "proof":
            index, size = check_proof(text(given.file), keys, text(given.entry) if given.entry else None)
            said.insert(0, f"holds: the entry is number {index} of the {size} that {name} signed")
        else:
            with open(given.file, "rb") as file:
                size, covered, events = check_log(file, [read_checkpoint(note, keys) for note in notes])
            under = f"{covered} of them under {len(notes)} signed checkpoint(s) of {name}"
            said.insert(0, f"holds: {size} entries, {under}; {events} show the event to which they commit")
        print("\n".join(said))
    except DoesNotHold as reason:
        print(f"does not hold: {reason}")
        return 1
    except (OSError, UnicodeDecodeError) as error:
        print(f"verify.py: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
