"""File -> its Content Credentials (C2PA): who signed what about it, and whether that holds. Nothing is fetched."""

from __future__ import annotations

import json
import logging
import re
from contextlib import closing
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from .errors import OptionsError
from .metadata import DAMAGE, MAX_NAME, last_part, one_line
from .types import ContentCredentials

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

    from .metadata import Found

log = logging.getLogger(__name__)

# A manifest may stand elsewhere, name a server to ask for revocation, and hold identities that lead to more servers;
# nothing is fetched. The list of hosts is empty besides, which the library does not heed for identities (c2pa-rs #1645).
_OFFLINE = {
    "verify": {"verify_trust": True, "remote_manifest_fetch": False, "ocsp_fetch": False},
    "core": {"decode_identity_assertions": False, "allowed_network_hosts": []},
}
_MAX_ACTIONS = 50


def certificates(text: str, *, of: str) -> str:
    """The certificates in the text of a PEM file, one after the other, without the comments between them.

    The library for C2PA passes over much that is no certificate, and the signer would seem to be trusted by nobody.

    Args:
        of: Where the text is from, for the message.

    Raises:
        OptionsError: There are none, or one that can't be read.
    """
    import ssl

    begin, end = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
    lines = "\n".join(map(str.rstrip, text.splitlines()))
    blocks = re.findall(f"^{begin}$.*?^{end}$", lines, re.MULTILINE | re.DOTALL)
    wanted = f"{of}: expected certificates in PEM, one after the other"
    if not blocks or len(blocks) != lines.count(begin):
        raise OptionsError(f"{wanted}, found {'one that is cut or indented' if begin in lines else 'none'}")
    read = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    for i, block in enumerate(blocks, start=1):
        try:
            # As bytes it would be taken for DER.
            read.load_verify_locations(cadata=block.encode("ascii").decode("ascii"))
        except (ssl.SSLError, ValueError) as error:
            raise OptionsError(f"{wanted}; the one at place {i} can't be read ({error})") from error
    found = "\n".join((*blocks, ""))
    if (context := _c2pa_context(found)) is not None:
        context.close()
    return found


def _c2pa_context(trust_anchors: str) -> Any:
    """How c2pa is to read; None where it is not installed, or might fetch something.

    Raises:
        OptionsError: It can't use these certificates.
    """
    try:
        import c2pa
    except (ImportError, OSError, RuntimeError) as error:
        log.debug("c2pa: %s", error)
        return None
    try:
        context = c2pa.Context.from_dict(_OFFLINE)
    except c2pa.C2paError as error:
        # A version that does not know these settings might fetch something, so it is as good as none.
        log.debug("c2pa: %s", error)
        return None
    if not trust_anchors:
        return context
    context.close()
    try:
        return c2pa.Context.from_dict({**_OFFLINE, "trust": {"trust_anchors": trust_anchors}})
    except c2pa.C2paError as error:
        raise OptionsError(f"trust: c2pa can't use these certificates ({error})") from error


def read_credentials(file: BinaryIO, found: Found, trust_anchors: str) -> ContentCredentials:
    """What a file holds of them, or why that can't be told; `found` is told where they lie elsewhere.

    Args:
        trust_anchors: As `certificates` gives them.

    Raises:
        OptionsError: The library can't use these.
    """
    context = _c2pa_context(trust_anchors)
    if context is None:
        return ContentCredentials("not_read", reason="library_missing")
    import c2pa

    file.seek(0)
    try:
        # The format is left open: the name may lie about it, the content does not.
        with closing(context), c2pa.Reader(None, file, context=context) as reader:
            store = json.loads(reader.json())
    except (c2pa.C2paError, ValueError) as error:
        return _without_manifest(str(error), found)
    try:
        return _credentials(store)
    except DAMAGE as error:
        # Whoever signs may put anything into a manifest, and that must cost nobody a verdict.
        log.debug("c2pa: %s", error)
        return ContentCredentials("not_read", reason="unreadable")


def _without_manifest(error: str, found: Found) -> ContentCredentials:
    if "ManifestNotFound" in error:
        return ContentCredentials("absent")
    if address := re.search(r"remote manifests? from url (\S+)", error):
        found.note("credentials_elsewhere", host=one_line(urlsplit(address[1]).hostname or "", MAX_NAME))
        return ContentCredentials("not_read", reason="elsewhere")
    log.debug("c2pa: %s", error)
    return ContentCredentials("not_read", reason="not_supported" if "NotSupported" in error else "unreadable")


def _credentials(store: dict[str, Any]) -> ContentCredentials:
    manifests = store.get("manifests", {})
    manifest = manifests.get(store.get("active_manifest"), {})
    signature = manifest.get("signature_info") or {}
    results = store.get("validation_results") or {}
    failures = tuple(sorted(set(_failures(results))))
    # Whoever signs may run a clock of their own and set it to any day.
    vouched = "timeStamp.trusted" in _codes(results.get("activeManifest"), "success")
    state = store.get("validation_state")
    actions = [action for label, data in _assertions(manifest) if label.startswith("c2pa.actions")
               for action in _actions(data)]  # fmt: skip
    origins = {last_part(origin) for each in manifests.values() for _, data in _assertions(each)
               for origin in _source_types(data)}  # fmt: skip
    makers = manifest.get("claim_generator_info") or [{"name": manifest.get("claim_generator") or ""}]
    return ContentCredentials(
        # The library calls a manifest valid that is well-formed and whose signer it has no reason to trust.
        {"Trusted": "valid", "Valid": "untrusted"}.get(str(state), "invalid"),  # type: ignore[arg-type]
        signer=one_line(str(signature.get("common_name") or ""), MAX_NAME),
        issuer=one_line(str(signature.get("issuer") or ""), MAX_NAME),
        time=one_line(str(signature.get("time") or ""), MAX_NAME) if vouched else "",
        generator=one_line(" ".join(str(makers[0].get(part) or "") for part in ("name", "version")), MAX_NAME),
        actions=tuple(one_line(str(action.get("action", "")), MAX_NAME) for action in actions[:_MAX_ACTIONS]),
        digital_source_types=tuple(sorted(origins))[:_MAX_ACTIONS],
        failures=failures[:_MAX_ACTIONS],
    )


def _assertions(manifest: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for assertion in manifest.get("assertions") or ():
        if isinstance(data := assertion.get("data"), dict):
            yield str(assertion.get("label", "")), data


def _actions(data: dict[str, Any]) -> list[dict[str, Any]]:
    """The actions of an assertion. In a vendor's own, anything may bear that name, such as a count."""
    actions = data.get("actions")
    return [action for action in actions if isinstance(action, dict)] if isinstance(actions, list) else []


def _source_types(data: dict[str, Any]) -> Iterator[str]:
    """Digital source types of an assertion: of its actions, or an IPTC property of its own."""
    for holder in (data, *_actions(data)):
        for name, value in holder.items():
            if name.rpartition(":")[2].lower() == "digitalsourcetype" and isinstance(value, str):
                yield value


def _failures(results: dict[str, Any]) -> Iterator[str]:
    """Codes of what did not hold: of the manifest, and of those of the parts it was made of."""
    parts = [results.get("activeManifest")]
    parts += [delta.get("validationDeltas") for delta in results.get("ingredientDeltas") or ()]
    for part in parts:
        yield from _codes(part, "failure")


def _codes(part: dict[str, Any] | None, outcome: str) -> list[str]:
    """What the library found of a manifest: `success`, `informational` or `failure`."""
    return [one_line(str(found.get("code", "")), MAX_NAME) for found in (part or {}).get(outcome) or ()]
