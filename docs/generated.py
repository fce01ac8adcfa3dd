"""The generated part of the reference: MkDocs calls `on_page_markdown` for each page.

The protocol's page is made from the comments of proto/, so that it cannot differ from them.
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
    ServiceDescriptorProto,
)
from grpc_tools import protoc

PROTO = Path(__file__).parents[1] / "proto"
MARKER = "<!-- the protocol, from the comments of proto/ -->"

# Paths to comments are made of the fields' numbers in google/protobuf/descriptor.proto.
_MESSAGE, _ENUM, _SERVICE = 4, 5, 6
_MEMBER = 2  # a message's field, an enum's value, a service's method

_KINDS = {
    value.number: value.name.removeprefix("TYPE_").lower()
    for value in FieldDescriptorProto.Type.DESCRIPTOR.values
}


def on_page_markdown(markdown: str, **_page: object) -> str:
    """Put what is generated in place of its marker."""
    return markdown.replace(MARKER, protocol()) if MARKER in markdown else markdown


def protocol() -> str:
    """Return every service, message and enumeration with its comments, as Markdown."""
    return "\n".join(line for file in described() for line in _file(file))


def described() -> list[FileDescriptorProto]:
    """Compile proto/ and return its files with their comments, services first.

    Raises:
        RuntimeError: if protoc refuses a file.
    """
    sources = sorted(str(path) for path in PROTO.rglob("*.proto"))
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "descriptors"
        options = ["--include_source_info", f"--descriptor_set_out={out}"]
        include = str(Path(protoc.__file__).parent / "_proto")
        if protoc.main(["protoc", f"-I{PROTO}", f"-I{include}", *options, *sources]) != 0:
            raise RuntimeError(f"protoc refuses a file of {PROTO}: see its message")
        files = FileDescriptorSet.FromString(out.read_bytes()).file
    return sorted(files, key=lambda file: (not file.service, file.name))


def comments(file: FileDescriptorProto) -> dict[tuple[int, ...], str]:
    """Return the comment before each element, by the element's path in the file."""
    return {
        tuple(each.path): each.leading_comments.strip()
        for each in file.source_code_info.location
        if each.leading_comments.strip()
    }


def _file(file: FileDescriptorProto) -> Iterator[str]:
    said = comments(file)
    for index, service in enumerate(file.service):
        yield from _service(service, said, (_SERVICE, index))
    for index, message in enumerate(file.message_type):
        yield from _message(message, said, (_MESSAGE, index))
    for index, enum in enumerate(file.enum_type):
        yield from _enum(enum, said, (_ENUM, index))


def _service(
    service: ServiceDescriptorProto, said: dict[tuple[int, ...], str], path: tuple[int, ...]
) -> Iterator[str]:
    yield f"\n## {service.name}\n\n{_prose(said.get(path, ''))}\n"
    for index, method in enumerate(service.method):
        request, response = (_link(name) for name in (method.input_type, method.output_type))
        yield f"\n### {service.name}.{method.name}\n\n{request} → {response}\n"
        yield f"\n{_prose(said.get((*path, _MEMBER, index), ''))}\n"


def _message(
    message: DescriptorProto, said: dict[tuple[int, ...], str], path: tuple[int, ...]
) -> Iterator[str]:
    yield f"\n### {message.name}\n\n{_prose(said.get(path, ''))}\n"
    yield "\n| field | type | meaning |\n|---|---|---|"
    for index, field in enumerate(message.field):
        text = " ".join(said.get((*path, _MEMBER, index), "").split())
        yield f"| `{field.name}` = {field.number} | {_type(field, message)} | {_cell(text)} |"


def _enum(
    enum: EnumDescriptorProto, said: dict[tuple[int, ...], str], path: tuple[int, ...]
) -> Iterator[str]:
    yield f"\n### {enum.name}\n\n{_prose(said.get(path, ''))}\n"
    yield "\n| value | meaning |\n|---|---|"
    for index, value in enumerate(enum.value):
        text = " ".join(said.get((*path, _MEMBER, index), "").split())
        yield f"| `{value.name}` = {value.number} | {_cell(text)} |"


def _type(field: FieldDescriptorProto, message: DescriptorProto) -> str:
    nested = {each.name: each for each in message.nested_type}
    entry = nested.get(field.type_name.rpartition(".")[2])
    if entry is not None and entry.options.map_entry:
        key, value = (_type(each, entry) for each in entry.field)
        return f"map of {key} to {value}"
    name = _link(field.type_name) if field.type_name else _KINDS[field.type]
    if field.label == FieldDescriptorProto.LABEL_REPEATED:
        return f"repeated {name}"
    return f"optional {name}" if field.proto3_optional else name


def _link(type_name: str) -> str:
    name = type_name.rpartition(".")[2]
    if not type_name.startswith(".recsys."):
        return type_name.lstrip(".")
    return f"[{name}](#{name.lower()})"


def _prose(comment: str) -> str:
    """Keep paragraphs; make a list of lines that give a code and, aligned, its meaning."""
    lines = []
    for line in (each.removeprefix(" ") for each in comment.splitlines()):
        code, gap, meaning = line.partition("  ")
        if gap and code.isupper():
            lines.append(f"- `{code}`: {meaning.strip()}")
        else:
            lines.append(line.strip() if not line.startswith("  ") else f"  {line.strip()}")
    return "\n".join(lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
