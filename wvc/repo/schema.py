"""The tables of lineage.db, as typed models."""

from __future__ import annotations

from sqlalchemy import ForeignKey
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

WIDTH = 32  # bytes of an id in ManifestRow.tensors


class Base(DeclarativeBase):
    """All tables."""


class AppliedRow(Base):
    """How far the projection has come: one row."""

    __tablename__ = "applied"
    id: Mapped[int] = mapped_column(primary_key=True)
    version: Mapped[int]
    repository: Mapped[str]
    number: Mapped[int]
    hash: Mapped[str]


class PackRow(Base):
    __tablename__ = "packs"
    name: Mapped[str] = mapped_column(primary_key=True)


class EntryRow(Base):
    """A pack that holds the object or tensor `id`: bytes there, bytes of its own, how deep, and its base.

    object: it is JSON, neither tensor nor side file.
    """

    __tablename__ = "entries"
    id: Mapped[str] = mapped_column(primary_key=True)
    pack: Mapped[str] = mapped_column(ForeignKey("packs.name", ondelete="CASCADE"), primary_key=True, index=True)
    stored: Mapped[int]
    raw: Mapped[int]
    depth: Mapped[int]
    base: Mapped[str | None]
    object: Mapped[bool]


class CommitRow(Base):
    __tablename__ = "commits"
    id: Mapped[str] = mapped_column(primary_key=True)
    generation: Mapped[int]
    created: Mapped[int]
    author: Mapped[str]
    message: Mapped[str]
    kind: Mapped[str]
    weights: Mapped[str] = mapped_column(index=True)
    manifest: Mapped[str]


class ParentRow(Base):
    __tablename__ = "parents"
    commit: Mapped[str] = mapped_column(ForeignKey("commits.id"), primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True)
    parent: Mapped[str] = mapped_column(index=True)
    coefficient: Mapped[str]


class LayoutRow(Base):
    """Names, dtypes and shapes of tensors, which most models of a repository share.

    id: SHA-256 of the body. body: a JSON list of [name, dtype, shape], sorted by name.
    """

    __tablename__ = "layouts"
    id: Mapped[str] = mapped_column(primary_key=True)
    body: Mapped[str]


class ManifestRow(Base):
    """What a manifest holds, in a hundredth of the time that it takes to read it.

    tensors: ids in the order of the layout, WIDTH bytes each. files: a JSON object, name -> id.
    """

    __tablename__ = "manifests"
    id: Mapped[str] = mapped_column(primary_key=True)
    layout: Mapped[str] = mapped_column(ForeignKey("layouts.id"))
    files: Mapped[str]
    tensors: Mapped[bytes]


class AttachmentRow(Base):
    """A statement about a commit that a transaction has listed."""

    __tablename__ = "attachments"
    id: Mapped[str] = mapped_column(primary_key=True)
    subject: Mapped[str] = mapped_column(index=True)
    kind: Mapped[str]
    body: Mapped[str]
    number: Mapped[int]


class ScoreRow(Base):
    """One domain's share of a score; `key` names the circumstances under which scores may be compared."""

    __tablename__ = "scores"
    attachment: Mapped[str] = mapped_column(ForeignKey("attachments.id"), primary_key=True)
    domain: Mapped[str] = mapped_column(primary_key=True)
    weights: Mapped[str] = mapped_column(index=True)
    task: Mapped[str]
    split: Mapped[str]
    right: Mapped[int]
    total: Mapped[int]


class RefRow(Base):
    __tablename__ = "refs"
    name: Mapped[str] = mapped_column(primary_key=True)
    target: Mapped[str]


class MoveRow(Base):
    """One line of the reflog."""

    __tablename__ = "moves"
    number: Mapped[int] = mapped_column(primary_key=True)
    ref: Mapped[str] = mapped_column(primary_key=True, index=True)
    old: Mapped[str | None]
    new: Mapped[str | None]
    created: Mapped[int]
    actor: Mapped[str]
    message: Mapped[str]
