"""Readable forms of a report: what they say, that any text reads back, that nothing in a text takes effect."""

from html.parser import HTMLParser
from io import BytesIO

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from pypdf import PdfReader

from export_documents import AWKWARD, REPORT, SIGNATURE, document, program, run, signed, texts
from wetread.errors import MissingError, UsageError
from wetread.export.fonts import shown, unspelled
from wetread.export.pdf import as_pdf
from wetread.export.text import as_html, as_markdown, as_text, page
from wetread.export.wording import clean, read
from wetread.records import NOTICE, Document, Report, Signature


def words(text: str) -> str:
    return " ".join(text.split())


def squeezed(text: str) -> str:
    return "".join(text.split())


class Page(HTMLParser):
    """The text of each section, and every tag with its attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags, self.sections, self._inside = [], [], False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag == "p" and ("class", "text") in attrs:
            self.sections.append("")
            self._inside = True

    def handle_endtag(self, tag):
        self._inside = self._inside and tag != "p"

    def handle_data(self, data):
        if self._inside:
            self.sections[-1] += data


def markdown_sections(text: str) -> dict[str, str]:
    """Title to text of the sections of the second level, as a renderer shows them."""
    found, title = {}, ""
    tokens = MarkdownIt("commonmark").parse(text)
    for place, token in enumerate(tokens):
        if token.type == "heading_open":
            title = tokens[place + 1].content if token.tag == "h2" else title
        elif token.type == "hr":
            title = "foot"
        elif token.type == "inline" and tokens[place - 1].type == "paragraph_open":
            said = "".join(
                child.content if child.type == "text" else " " if "break" in child.type else f"<{child.type}>"
                for child in token.children
            )
            found[title] = f"{found.get(title, '')} {said}"
    return {name: words(said) for name, said in found.items()}


def pdf_text(data: bytes) -> str:
    """The text of all pages without the footers."""
    pages = [one.extract_text() for one in PdfReader(BytesIO(data)).pages]
    return "\n".join(text[: text.rfind("AI draft, not verified. Drafted by")] for text in pages)


@pytest.mark.parametrize("form", [as_text, as_markdown, as_html, lambda one: pdf_text(as_pdf(one))])
def test_every_form_says_that_it_is_a_draft_and_of_which_model(form):
    said = words(form(document()))
    assert "AI draft, not verified".lower() in said.lower()
    assert NOTICE.split(". ", 1)[1] in said.replace("\\", "")
    assert "demo" in said
    assert "3f2a91c07b5d4e10" in said
    assert "2027-01-05 21:05 UTC" in said.replace("\\", "")


@pytest.mark.parametrize("form", [as_text, as_markdown, as_html])
def test_a_signed_report_says_who_verified_it_and_is_no_draft(form):
    said = words(form(signed()))
    assert "Verified by Jane Doe, Example Hospital" in said
    assert "corrected and verified on 2027-01-06 08:00 UTC" in said
    assert "not verified" not in said
    unchanged = words(form(document().sign(SIGNATURE)))
    assert "verified as drafted on" in unchanged


def test_findings_stand_by_region_with_their_words():
    (lungs, pleura, heart, devices) = read(document()).groups
    assert [line.sign for line in lungs.lines] == ["+", "?"]
    assert lungs.lines[0].said == "right consolidation, lower zone"
    assert [line.said for line in pleura.lines] == ["increased mild left pleural effusion", "no pneumothorax"]
    assert heart.lines[0].quote == "heart is mildly enlarged"
    assert devices.title == "Devices"


@given(texts, texts)
def test_plain_text_holds_any_text_as_it_is(findings, impression):
    report = Report(findings, impression)
    made = as_text(document(report, findings=()))
    for title, text in (("FINDINGS", findings), ("IMPRESSION", impression)):
        said = clean(text).strip()
        assert (f"\n{title}\n{said}\n" in made) == bool(said)
    assert made.encode().decode() == made


@given(texts)
def test_markdown_renders_any_text_as_itself(text):
    sections = markdown_sections(as_markdown(document(Report(text, "Normal."), findings=())))
    assert sections.get("Findings", "") == words(clean(text))
    assert sections["Impression"] == "Normal."


@given(texts)
def test_html_shows_any_text_and_nothing_of_it_takes_effect(text):
    found = Page(as_html(document(Report(text, "Normal."), findings=())))
    assert found.sections == [said for said in (clean(text).strip(), "Normal.") if said]
    allowed = {"html", "head", "meta", "title", "style", "body", "article", "section", "h1", "h2", "h3", "p", "strong"}
    assert {tag for tag, _ in found.tags} <= allowed | {"dl", "dt", "dd", "ul", "li", "span", "q", "footer"}
    assert not any(name in attributes for _, attributes in found.tags for name in ("src", "href", "onload"))
    policy = next(a["content"] for _, a in found.tags if a.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'")


@given(st.one_of(st.text(max_size=200), st.sampled_from([one for one in AWKWARD if len(one) < 1000])))
@example("a[U+4E2D]b")
def test_pdf_shows_any_text_or_spells_it_out(text):
    held = squeezed(pdf_text(as_pdf(document(Report(text, "Normal."), findings=(), images=()))))
    assert squeezed(shown(clean(text))) in held
    if "[U+" not in text:
        assert unspelled(shown(clean(text))) == clean(text)


@pytest.mark.parametrize("text", ["word " * 3000, "x" * 20000, "line\n" * 500])
def test_long_reports_run_over_pages_with_their_numbers(text):
    data = as_pdf(document(Report(text, "The end."), findings=()))
    pages = PdfReader(BytesIO(data)).pages
    assert len(pages) > 2
    for number, one in enumerate(pages, start=1):
        assert f"page {number} of {len(pages)}" in one.extract_text()
    assert squeezed(text) in squeezed(pdf_text(data)).replace("AIdraft,notverified", "")
    assert "Theend." in squeezed(pdf_text(data))


def test_a_report_without_sections_is_still_a_document():
    empty = document(Report(), findings=(), images=())
    assert "FINDINGS" not in as_text(empty)
    assert Page(as_html(empty)).sections == []
    assert "AI draft, not verified" in pdf_text(as_pdf(empty))


def test_pdf_is_the_same_bytes_and_says_in_its_properties_what_it_is():
    assert as_pdf(document()) == as_pdf(document())
    info = PdfReader(BytesIO(as_pdf(document()))).metadata
    assert info.title == "Chest radiograph report: ward/film1"
    assert info.subject == "AI draft, not verified"
    assert info.author == "demo, version 3f2a91c07b5d4e10"
    assert info.creation_date.isoformat() == "2027-01-05T21:05:00+00:00"


def test_pdf_reads_with_another_program(tmp_path):
    pdftotext = program("pdftotext", "poppler-utils")
    (tmp_path / "a.pdf").write_bytes(as_pdf(document()))
    done = run(pdftotext, tmp_path / "a.pdf", "-")
    assert done.returncode == 0, done.stderr
    assert squeezed(REPORT.findings) in squeezed(done.stdout)
    assert squeezed(REPORT.impression) in squeezed(done.stdout)


def test_a_font_that_is_none_is_told(monkeypatch, tmp_path):
    (tmp_path / "no.ttf").write_bytes(b"no font")
    monkeypatch.setenv("WETREAD_FONT", str(tmp_path / "no.ttf"))
    with pytest.raises(MissingError, match=r"WETREAD_FONT names .* no TrueType font"):
        as_pdf(document())


def test_a_font_of_the_user_draws_what_the_own_one_lacks(monkeypatch):
    from wetread.export import fonts

    own = fonts._FOLDER / "DejaVuSans-Bold.ttf"  # any font will do: it is asked after the first
    monkeypatch.setenv("WETREAD_FONT", str(own))
    assert [face.name for face in fonts.fonts()] == ["wetread-sans", "wetread-asked"]
    assert "Normal." in pdf_text(as_pdf(document(Report("", "Normal."), findings=())))


def test_one_page_holds_many_reports_and_what_failed():
    made = page([read(document()), read(signed())], "Draft reports", [("<x>", "refused: no chest")])
    assert made.count("<article>") == 3
    assert "&lt;x&gt;" in made


def test_age_above_89_is_not_told():
    assert "90 years or older" in as_text(document(age=97))
    assert "89 years, female" in as_text(document(age=89, sex="female"))


# ---- the records ---------------------------------------------------------------------------------------------------


def test_documents_go_through_json():
    for one in (document(), signed()):
        assert Document.from_json(one.to_json()) == one


def test_signing_keeps_what_was_drafted_apart_from_what_is_verified():
    made = signed()
    assert made.signature.changed
    assert {one.name for one in made.withdrawn} >= {"cardiomegaly", "endotracheal tube"}
    assert "pleural effusion" not in {one.name for one in made.withdrawn}
    same = document().sign(SIGNATURE)
    assert not same.signature.changed
    assert same.withdrawn == ()
    with pytest.raises(UsageError, match="signed already"):
        made.sign(SIGNATURE)
    with pytest.raises(UsageError, match="go together"):
        document().sign(SIGNATURE, Report("Clear."))


@pytest.mark.parametrize("time", ["", "yesterday", "2027-01-05", "2027-01-05T10:00:00", "0001-01-01T00:00:00+14:00"])
def test_a_time_without_its_offset_is_refused(time):
    with pytest.raises(UsageError, match="offset"):
        Signature("Doe", time)
    with pytest.raises(UsageError, match="offset"):
        document(drafted=time)


@given(st.text(max_size=300))
def test_any_signer_is_a_person_name_of_dicom(signer):
    try:
        name = Signature(signer, "2027-01-05T10:00:00Z").person_name
    except UsageError as error:
        assert "without a name" in str(error)
        return
    assert len(name) <= 64
    assert name.count("^") <= 4
    assert name.isprintable()
    assert not set(name) & set("\\=")
