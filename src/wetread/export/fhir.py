"""A report as FHIR: one transaction Bundle with a DiagnosticReport, an Observation a finding, and who and what wrote it.

R4 (4.0.1) and R5 (5.0.0). Posted to a server it creates or updates: every resource is found again by an identifier that
depends on study and model version alone, so that a draft becomes the signed report and is never stored twice.

The patient is referred to by Patient ID, the study by its UID and accession number, since a report without them belongs to
nobody; name, sex and birth date stay out.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Sequence
from html import escape
from typing import Any, Literal
from urllib.parse import quote

from wetread.errors import UsageError
from wetread.export import codes
from wetread.export.header import StudyHeader
from wetread.export.pdf import as_pdf
from wetread.export.text import as_text
from wetread.export.uids import report_parts, uid_of, uuid_of
from wetread.export.wording import Reading, clean, evidence, one_line, read
from wetread.knowledge import Code
from wetread.knowledge.tree import phrase
from wetread.records import UNVERIFIED, Document, Finding
from wetread.records.document import moment

Release = Literal["R4", "R5"]
RELEASES: tuple[Release, ...] = ("R4", "R5")
"""Releases of FHIR that are written."""
Resource = dict[str, Any]

_HL7 = "http://terminology.hl7.org/CodeSystem/"
_IDENTIFIER = "urn:ietf:rfc:3986"
_STRENGTH = {"present": 0, "uncertain": 1, "absent": 2}
_AI = {"system": f"{_HL7}v3-ObservationValue", "code": "AIAST", "display": "Artificial Intelligence asserted"}
"""Security label of what an AI says and nobody has confirmed (HL7 v3, AI Transparency on FHIR)."""


def as_fhir(document: Document, header: StudyHeader, release: Release = "R4") -> bytes:
    """Return the Bundle as JSON in UTF-8, as ``bundle`` makes it."""
    return (json.dumps(bundle(document, header, release), ensure_ascii=False, indent=1) + "\n").encode()


def bundle(document: Document, header: StudyHeader, release: Release = "R4") -> Resource:
    """Return a report as one Bundle; the same document and header give the same one.

    Parameters
    ----------
    document
        The report; ``preliminary`` until it is signed, then ``final``.
    header
        The patient and the study (``header.header_of``).
    release
        ``R4`` or ``R5``.

    Raises
    ------
    UsageError
        Another release is asked for.
    """
    if release not in RELEASES:
        raise UsageError(f"no FHIR {release!r} is written. Allowed: {', '.join(RELEASES)}.")
    made = _Bundle(document, header, release)
    entries = [made.report(), made.device(), *made.people(), *made.observations(), made.provenance()]
    stamp = _instant(document.time)
    return {
        "resourceType": "Bundle",
        "meta": {"lastUpdated": stamp},
        "identifier": {"system": _IDENTIFIER, "value": f"urn:uuid:{made.key('bundle', document.status)}"},
        "type": "transaction",
        "timestamp": stamp,
        "entry": [entry for entry in entries if entry],
    }


class _Bundle:
    """What the resources of one Bundle have in common."""

    def __init__(self, document: Document, header: StudyHeader, release: Release) -> None:
        self.document = document
        self.header = header
        self.release = release
        self.parts = report_parts(document, header.study_uid)
        self.status = "final" if document.signature else "preliminary"
        # Of two statements of the same thing the stronger one counts: two resources cannot have one identifier.
        self.findings: dict[str, Finding] = {}
        for one in document.findings:
            held = self.findings.setdefault(self._finding_key(one), one)
            if _STRENGTH[one.presence] < _STRENGTH[held.presence]:
                self.findings[self._finding_key(one)] = one

    def key(self, *kind: str) -> str:
        """Return the UUID of a part of this report."""
        return str(uuid_of("fhir", *kind, *self.parts))

    def entry(self, resource: Resource, key: str) -> Resource:
        """Return the entry of a resource that is found by its identifier, created or brought up to date."""
        name = resource["resourceType"]
        found = quote(f"{_IDENTIFIER}|{resource['identifier'][0]['value']}", safe="")
        return {
            "fullUrl": f"urn:uuid:{key}",
            "resource": resource,
            "request": {"method": "PUT", "url": f"{name}?identifier={found}"},
        }

    def report(self) -> Resource:
        """Return the DiagnosticReport."""
        document, header, reading = self.document, self.header, read(self.document)
        said = "\n\n".join(text for title, text in reading.sections if title in ("Findings", "Impression"))
        conclusion = clean(document.report.impression).strip() or said
        results = [{"reference": f"urn:uuid:{key}"} for key in self.findings]
        body: Resource = {
            "resourceType": "DiagnosticReport",
            "meta": self._meta(),
            "text": {"status": "additional", "div": _narrative(reading)},
            "identifier": [_uid_identifier(uid_of("report", *self.parts))],
            "basedOn": self._order(),
            "status": self.status,
            "category": [_concept((f"{_HL7}v2-0074", "RAD", "Radiology"))],
            "code": _concept(("http://loinc.org", "18748-4", "Diagnostic imaging study"), text=reading.title),
            "subject": self._subject(),
            "effectiveDateTime": _day(header.get("StudyDate")),
            "issued": _instant(document.time),
            "resultsInterpreter": [{"reference": f"urn:uuid:{self.key('signer')}"}] if document.signature else [],
            "result": results,
            "imagingStudy" if self.release == "R4" else "study": self._study(),
            "conclusion": conclusion if document.signature else f"[{UNVERIFIED}] {conclusion}".strip(),
            "presentedForm": _forms(document, reading),
        }
        return self.entry(_without_empty(body), self.key("report"))

    def device(self) -> Resource:
        """Return the model as a Device."""
        model = one_line(self.document.model) or "unnamed model"
        name = (
            {"deviceName": [{"name": model, "type": "model-name"}]}
            if self.release == "R4"
            else {"name": [{"value": model, "type": "registered-name"}]}
        )
        body = {
            "resourceType": "Device",
            "identifier": [_uid_identifier(uid_of("model", self.document.model, self.document.version))],
            "manufacturer": "wetread",
            **name,
            "type": _kind(self.release),
            "version": [{"value": version}] if (version := one_line(self.document.version)) else [],
        }
        return self.entry(_without_empty(body), str(uuid_of("fhir", "device", *self.parts[1:])))

    def people(self) -> Iterable[Resource]:
        """Yield the signer, if there is one."""
        signed = self.document.signature
        if signed is None:
            return
        own = _uid_identifier(uid_of("signer", signed.organization, signed.identifier, signed.person_name))
        number = {"value": one_line(signed.identifier)} | (
            {"assigner": {"display": one_line(signed.organization)}} if signed.organization else {}
        )
        body = {
            "resourceType": "Practitioner",
            "identifier": [own, number] if signed.identifier.strip() else [own],
            "name": [{"text": one_line(signed.name)}],
        }
        yield self.entry(body, self.key("signer"))

    def observations(self) -> Iterable[Resource]:
        """Yield an Observation a finding; those of the draft that the signed report does not have are taken back."""
        for finding in self.findings.values():
            yield self._observation(finding, self.status)
        for key, finding in {self._finding_key(one): one for one in self.document.withdrawn}.items():
            if key not in self.findings:
                yield self._observation(finding, "entered-in-error")

    def _observation(self, finding: Finding, status: str) -> Resource:
        document = self.document
        words = evidence(document, finding) if status != "entered-in-error" else ""
        site = codes.of_location(finding)
        place = " ".join(part for part in (finding.side, finding.location) if part)
        body = {
            "resourceType": "Observation",
            "meta": self._meta(),
            "identifier": [_uid_identifier(self._finding_uid(finding))],
            "status": status,
            "category": [_concept((f"{_HL7}observation-category", "imaging", "Imaging"))],
            "code": _coded(codes.of_finding(finding), text=finding.name),
            "subject": self._subject(),
            "effectiveDateTime": _day(self.header.get("StudyDate")),
            "issued": _instant(document.time),
            "performer": [{"reference": f"urn:uuid:{self.key('signer')}"}] if document.signature else [],
            "valueCodeableConcept": _coded((codes.PRESENCES[finding.presence],), text=finding.presence),
            "note": [{"text": f"{phrase(finding)}: “{words}”" if words else phrase(finding)}],
            "bodySite": _coded((site,) if site else (), text=place) if finding.location else {},
            "derivedFrom": self._study(),
            "device": {"reference": f"urn:uuid:{uuid_of('fhir', 'device', *self.parts[1:])}"},
            "component": list(_components(finding)),
        }
        return self.entry(_without_empty(body), self._finding_key(finding))

    def provenance(self) -> Resource:
        """Return who made the report what it is: the model wrote it, and who signed has verified it."""
        agents = [_agent("author", f"urn:uuid:{uuid_of('fhir', 'device', *self.parts[1:])}")]
        if self.document.signature is not None:
            agents.append(_agent("verifier", f"urn:uuid:{self.key('signer')}"))
        body = {
            "resourceType": "Provenance",
            "target": [{"reference": f"urn:uuid:{self.key('report')}"}],
            "recorded": _instant(self.document.time),
            "agent": agents,
        }
        # A Provenance has no identifier; one that tells of another moment is another one.
        key = self.key("provenance", self.document.time)
        return {
            "fullUrl": f"urn:uuid:{key}",
            "resource": body | {"id": key},
            "request": {"method": "PUT", "url": f"Provenance/{key}"},
        }

    def _finding_uid(self, finding: Finding) -> str:
        return uid_of("finding", finding.name, finding.side, finding.location, *self.parts)

    def _finding_key(self, finding: Finding) -> str:
        return self.key("finding", finding.name, finding.side, finding.location)

    def _meta(self) -> Resource:
        return {} if self.document.signature else {"security": [dict(_AI)]}

    def _subject(self) -> Resource:
        number, issuer = self.header.get("PatientID"), self.header.get("IssuerOfPatientID")
        if not number:
            return {}
        identifier: Resource = {"type": _concept((f"{_HL7}v2-0203", "MR", "Medical record number")), "value": number}
        if issuer:
            identifier["assigner"] = {"display": issuer}
        return {"type": "Patient", "identifier": identifier}

    def _order(self) -> list[Resource]:
        number = self.header.get("AccessionNumber")
        if not number:
            return []
        identifier = {"type": _concept((f"{_HL7}v2-0203", "ACSN", "Accession ID")), "value": number}
        return [{"type": "ServiceRequest", "identifier": identifier}]

    def _study(self) -> list[Resource]:
        if self.header.placeholder:
            return []
        return [{"type": "ImagingStudy", "identifier": _uid_identifier(self.header.study_uid, "urn:dicom:uid")}]


def _components(finding: Finding) -> Iterable[Resource]:
    """Yield side, grade and change, as far as they are stated."""
    for name, value, said in (
        (codes.LATERALITY, codes.SIDES.get(finding.side), finding.side),
        (codes.SEVERITY, codes.SEVERITIES.get(finding.severity), finding.severity),
        (codes.CHANGE, codes.CHANGES.get(finding.change), finding.change),
    ):
        if value is not None:
            yield {
                "code": _coded((name,), text=name.meaning),
                "valueCodeableConcept": _coded((value,), text=said),
            }


def _forms(document: Document, reading: Reading) -> list[Resource]:
    """Return the readable forms: the text, which holds every character, and the PDF."""
    common = {"language": "en", "title": f"{reading.title}: {reading.banner}", "creation": _instant(document.time)}
    data = (("text/plain; charset=utf-8", as_text(document).encode()), ("application/pdf", as_pdf(document)))
    return [{"contentType": kind, "data": base64.b64encode(body).decode(), **common} for kind, body in data]


def _narrative(reading: Reading) -> str:
    """Return the report as the XHTML that FHIR shows to people."""
    parts = [f"<p><b>{escape(reading.banner)}.</b> {escape(reading.banner_more)}</p>"]
    for title, text in reading.sections:
        lines = "<br/>".join(escape(line) for line in text.split("\n"))
        parts.append(f"<p><b>{escape(title)}</b><br/>{lines}</p>")
    parts.append(f"<p>{escape(reading.footer)}</p>")
    return f'<div xmlns="http://www.w3.org/1999/xhtml">{"".join(parts)}</div>'


def _kind(release: Release) -> Any:
    """Return what kind of device it is: one concept in R4, a list in R5."""
    kind = {"text": "AI model that drafts radiology reports; research use only"}
    return kind if release == "R4" else [kind]


def _agent(role: str, who: str) -> Resource:
    kind = (f"{_HL7}provenance-participant-type", role, role.capitalize())
    return {"type": _concept(kind), "who": {"reference": who}}


def _uid_identifier(uid: str, system: str = _IDENTIFIER) -> Resource:
    return {"system": system, "value": f"urn:oid:{uid}"}


def _concept(coding: tuple[str, str, str], text: str = "") -> Resource:
    system, code, display = coding
    concept: Resource = {"coding": [{"system": system, "code": code, "display": display}]}
    return concept | ({"text": text} if text else {})


def _coded(found: Sequence[Code], text: str) -> Resource:
    """Return a concept with the codes that have a system in FHIR; one without any is its text alone."""
    codings = [
        {"system": codes.SYSTEMS[code.scheme], "code": code.value, "display": code.meaning}
        for code in found
        if code.scheme in codes.SYSTEMS
    ]
    return {"coding": codings, "text": text} if codings else {"text": text}


def _without_empty(body: Resource) -> Resource:
    """Return a resource without the elements that say nothing; FHIR allows no empty ones."""
    return {name: value for name, value in body.items() if value not in ("", [], {})}


def _day(date: str) -> str:
    return f"{date[:4]}-{date[4:6]}-{date[6:8]}" if date else ""


def _instant(time: str) -> str:
    return moment(time).strftime("%Y-%m-%dT%H:%M:%SZ")
