"""The words of the phantom's reports, by style: nouns, frames, normal statements and boilerplate.

In the patterns ``{the}`` is the phrase with "the", ``{a}`` with "a" or "an" (or nothing), ``{bare}`` without article,
``{is}`` and ``{has}`` agree with its number. A phrase is built as grade, side, zone, noun.
"""

from __future__ import annotations

from dataclasses import dataclass

from wetread.studies.phantom.sites import Style


@dataclass(frozen=True)
class Noun:
    """One name of a finding."""

    one: str
    """Singular, or the name of what cannot be counted."""
    many: str = ""
    """Plural, for both sides; empty when the singular serves."""
    article: str = "a"
    """Empty when it takes none; whether it is "a" or "an" follows from the whole phrase."""
    tail: str = ""
    """What follows the noun and may name the side, as in "of the {side} hemidiaphragm"."""
    plural: bool = False
    """Whether ``one`` is itself a plural."""


def _n(one: str, many: str = "", article: str = "a", tail: str = "", plural: bool = False) -> Noun:
    return Noun(one, many, article, tail, plural)


NOUNS: dict[str, dict[Style, tuple[Noun, ...]]] = {
    "cardiomegaly": {
        "plain": (_n("cardiomegaly", article=""), _n("enlargement of the heart", article=""), _n("cardiomegaly", article="")),
        "terse": (_n("cardiomegaly", article=""), _n("cardiac enlargement", article="")),
        "numbered": (_n("heart enlargement", article=""), _n("enlargement of the cardiac silhouette", article="")),
    },
    "enlarged cardiomediastinum": {
        "plain": (_n("widened mediastinum"), _n("mediastinal widening", article="")),
        "terse": (_n("widened mediastinum"), _n("mediastinal widening", article=""), _n("enlarged cardiomediastinum")),
        "numbered": (_n("widening of the mediastinum", article=""), _n("mediastinal enlargement", article="")),
    },
    "lung opacity": {
        "plain": (_n("opacity", "opacities"), _n("hazy opacity", "hazy opacities"), _n("airspace opacity", "airspace opacities")),
        "terse": (_n("opacity", "opacities"), _n("hazy opacity", "hazy opacities")),
        "numbered": (_n("opacification", article=""), _n("patchy opacity", "patchy opacities")),
    },
    "nodule": {
        "plain": (_n("nodule"), _n("lung nodule"), _n("pulmonary nodule")),
        "terse": (_n("nodule"), _n("lung nodule")),
        "numbered": (_n("pulmonary nodule"), _n("solitary nodule")),
    },
    "mass": {
        "plain": (_n("mass"), _n("lung mass"), _n("pulmonary mass")),
        "terse": (_n("mass"), _n("lung mass")),
        "numbered": (_n("pulmonary mass"), _n("lung mass")),
    },
    "pulmonary edema": {
        "plain": (_n("pulmonary edema", article=""), _n("edema", article="")),
        "terse": (_n("pulmonary edema", article=""), _n("edema", article="")),
        "numbered": (_n("pulmonary edema", article=""), _n("alveolar edema", article="")),
    },
    "consolidation": {
        "plain": (_n("consolidation", article=""), _n("airspace consolidation", article="")),
        "terse": (_n("consolidation", article=""), _n("airspace consolidation", article="")),
        "numbered": (_n("consolidation", article=""), _n("consolidative change", article="")),
    },
    "atelectasis": {
        "plain": (_n("atelectasis", article=""), _n("linear atelectasis", article="")),
        "terse": (_n("atelectasis", article=""), _n("linear atelectasis", article="")),
        "numbered": (_n("subsegmental atelectasis", article=""), _n("atelectatic change", article="")),
    },
    "pneumothorax": {style: (_n("pneumothorax"),) for style in ("plain", "terse", "numbered")},
    "pleural effusion": {
        "plain": (_n("pleural effusion", "pleural effusions"), _n("effusion", "effusions")),
        "terse": (_n("pleural effusion", "pleural effusions"), _n("effusion", "effusions")),
        "numbered": (_n("pleural effusion", "pleural effusions"), _n("pleural fluid", article="")),
    },
    "pleural thickening": {style: (_n("pleural thickening", article=""),) for style in ("plain", "terse", "numbered")},
    "rib fracture": {
        "plain": (_n("rib fracture"), _n("fractured rib")),
        "terse": (_n("rib fracture"), _n("fractured rib")),
        "numbered": (_n("rib fracture"), _n("fractured rib")),
    },
    "emphysema": {
        "plain": (_n("emphysema", article=""), _n("emphysematous change", article="")),
        "terse": (_n("emphysema", article=""), _n("emphysematous change", article="")),
        "numbered": (_n("pulmonary emphysema", article=""), _n("emphysematous lung disease", article="")),
    },
    "interstitial pattern": {
        "plain": (_n("interstitial pattern"), _n("reticular pattern"), _n("interstitial opacities", article="", plural=True)),
        "terse": (_n("interstitial pattern"), _n("reticular pattern"), _n("interstitial opacities", article="", plural=True)),
        "numbered": (_n("interstitial change", article=""), _n("reticular opacities", article="", plural=True)),
    },
    "calcified granuloma": {
        "plain": (_n("calcified granuloma"), _n("granuloma")),
        "terse": (_n("calcified granuloma"), _n("granuloma")),
        "numbered": (_n("calcified granuloma"), _n("calcified lung lesion")),
    },
    "hilar enlargement": {
        "plain": (_n("hilar enlargement", article=""), _n("hilar prominence", article="")),
        "terse": (_n("hilar enlargement", article=""), _n("hilar fullness", article="")),
        "numbered": (_n("hilar fullness", article=""), _n("hilar prominence", article="")),
    },
    "elevated hemidiaphragm": {
        "plain": (_n("elevation", article="", tail="of the {side} hemidiaphragm"), _n("elevated hemidiaphragm")),
        "terse": (_n("elevated hemidiaphragm"), _n("raised hemidiaphragm")),
        "numbered": (_n("hemidiaphragm elevation", article=""), _n("raised hemidiaphragm")),
    },
    "scoliosis": {
        "plain": (_n("scoliosis", article=""), _n("scoliosis of the spine", article="")),
        "terse": (_n("scoliosis", article=""), _n("thoracic scoliosis", article="")),
        "numbered": (_n("thoracic scoliosis", article=""), _n("spinal curvature", article="")),
    },
    "aortic calcification": {
        "plain": (_n("aortic calcification", article=""), _n("calcification of the aorta", article="")),
        "terse": (_n("aortic calcification", article=""), _n("calcified aorta")),
        "numbered": (_n("calcified aortic arch"), _n("calcification of the aortic arch", article="")),
    },
    "hiatal hernia": {
        "plain": (_n("hiatal hernia"), _n("hiatus hernia")),
        "terse": (_n("hiatal hernia"),),
        "numbered": (_n("hiatus hernia"), _n("hiatal hernia")),
    },
    "pneumoperitoneum": {
        "plain": (_n("pneumoperitoneum", article=""), _n("free intraperitoneal air", article="")),
        "terse": (_n("pneumoperitoneum", article=""), _n("free air", article="")),
        "numbered": (_n("free subdiaphragmatic air", article=""), _n("free abdominal air", article="")),
    },
    "subcutaneous emphysema": {
        "plain": (_n("subcutaneous emphysema", article=""), _n("subcutaneous air", article="")),
        "terse": (_n("subcutaneous emphysema", article=""), _n("subcutaneous air", article="")),
        "numbered": (_n("soft tissue emphysema", article=""), _n("surgical emphysema", article="")),
    },
    "endotracheal tube": {
        "plain": (_n("endotracheal tube"),),
        "terse": (_n("endotracheal tube"), _n("ET tube")),
        "numbered": (_n("tracheal tube"), _n("endotracheal tube")),
    },
    "enteric tube": {
        "plain": (_n("enteric tube"), _n("nasogastric tube")),
        "terse": (_n("enteric tube"), _n("NG tube")),
        "numbered": (_n("feeding tube"), _n("gastric tube")),
    },
    "central venous catheter": {
        "plain": (_n("central venous catheter"), _n("central venous line")),
        "terse": (_n("central venous catheter"), _n("central line")),
        "numbered": (_n("central catheter"), _n("central venous line")),
    },
    "pacemaker": {
        "plain": (_n("pacemaker"), _n("cardiac pacemaker")),
        "terse": (_n("pacemaker"),),
        "numbered": (_n("pacemaker device"), _n("cardiac pacemaker")),
    },
    "chest tube": {
        "plain": (_n("chest tube"),),
        "terse": (_n("chest tube"), _n("chest drain")),
        "numbered": (_n("thoracostomy tube"), _n("chest drain")),
    },
    "sternotomy wires": {
        "plain": (_n("sternotomy wires", article="", plural=True), _n("median sternotomy wires", article="", plural=True)),
        "terse": (_n("sternotomy wires", article="", plural=True), _n("sternal wires", article="", plural=True)),
        "numbered": (_n("median sternotomy wires", article="", plural=True), _n("sternal wires", article="", plural=True)),
    },
}  # fmt: skip
"""Names of every finding in every style; each list is short, and frames, zones and orders vary the rest."""

PRESENT: dict[Style, tuple[str, ...]] = {
    "plain": ("There {is} {a}.", "{a} {is} present.", "{a} {is} seen.", "{a} {is} noted."),
    "terse": ("{bare}.", "{bare}.", "{bare} noted.", "{bare} seen.", "{bare} present."),
    "numbered": ("{a} {is} identified.", "{a} {is} visible.", "The image shows {a}.", "{a} {is} demonstrated."),
}
"""Frames for a finding without a word of change."""

DEVICE: dict[Style, tuple[str, ...]] = {
    "plain": ("{a} {is} in place.", "There {is} {a}.", "{a} {is} present.", "{a} {is} seen."),
    "terse": ("{bare} in place.", "{bare}.", "{bare} present."),
    "numbered": ("{a} {is} in position.", "{a} {is} visible.", "The image shows {a}."),
}
"""The same for devices."""

CHANGED: dict[str, dict[Style, tuple[str, ...]]] = {
    "new": {
        "plain": ("There {is} {new}.", "{new} {is} present.", "{new} {is} seen."),
        "terse": ("New {bare}.", "{bare}, new."),
        "numbered": ("{a} {has} developed.", "{a} {has} appeared."),
    },
    "increased": {
        "plain": ("{the} {has} increased.", "{the} {has} worsened.", "{the} {is} larger."),
        "terse": ("Increased {bare}.", "{bare}, increased.", "Worsening {bare}."),
        "numbered": ("{the} {has} progressed.", "{the} {is} more extensive."),
    },
    "decreased": {
        "plain": ("{the} {has} decreased.", "{the} {has} improved.", "{the} {is} smaller."),
        "terse": ("Decreased {bare}.", "{bare}, decreased.", "Improving {bare}."),
        "numbered": ("{the} {has} regressed.", "{the} {is} less extensive."),
    },
    "unchanged": {
        "plain": ("{the} {is} unchanged.", "{the} {is} stable.", "{the} {is} again seen."),
        "terse": ("Unchanged {bare}.", "Stable {bare}.", "{bare}, unchanged."),
        "numbered": ("{the} {has} not changed.", "{the} {is} similar to prior."),
    },
    "resolved": {
        "plain": ("{the} {has} resolved.", "{the} {is} no longer seen."),
        "terse": ("Resolved {bare}.", "{bare} resolved."),
        "numbered": ("{the} {has} cleared.", "{the} {has} disappeared."),
    },
}
"""Frames for every change against the prior study."""

SPECIAL: dict[str, dict[Style, tuple[str, ...]]] = {
    "cardiomegaly": {
        "plain": ("The heart is {grade:adverb} enlarged.", "The cardiac silhouette is {grade:adverb} enlarged."),
        "terse": ("Heart {grade:adverb} enlarged.",),
        "numbered": ("The heart appears {grade:adverb} enlarged.",),
    },
    "enlarged cardiomediastinum": {
        "plain": ("The mediastinum is widened.",),
        "terse": ("Mediastinum widened.",),
        "numbered": ("The mediastinum appears widened.",),
    },
    "elevated hemidiaphragm": {
        "plain": ("The {side} hemidiaphragm is elevated.",),
        "terse": ("{side} hemidiaphragm elevated.",),
        "numbered": ("The {side} hemidiaphragm is raised.",),
    },
    "emphysema": {
        "plain": ("The lungs show emphysema.",),
        "terse": ("Emphysema in both lungs.",),
        "numbered": ("The lungs show emphysematous change.",),
    },
    "aortic calcification": {
        "plain": ("The aorta is calcified.",),
        "terse": ("Aorta calcified.",),
        "numbered": ("The aortic arch is calcified.",),
    },
    "endotracheal tube": {
        "plain": ("The endotracheal tube tip is above the carina.",),
        "terse": ("Endotracheal tube tip above carina.",),
        "numbered": ("The tracheal tube ends above the carina.",),
    },
    "enteric tube": {
        "plain": ("The enteric tube crosses the diaphragm.",),
        "terse": ("Enteric tube crosses diaphragm.",),
        "numbered": ("The feeding tube follows the midline.",),
    },
}
"""Whole sentences for a finding without a word of change."""

GRADES: dict[str, dict[Style, tuple[str, str, str]]] = {
    "degree": {
        "plain": ("mild", "moderate", "severe"),
        "terse": ("mild", "moderate", "severe"),
        "numbered": ("slight", "moderate", "marked"),
    },
    "size": {
        "plain": ("small", "moderate", "large"),
        "terse": ("small", "moderate", "large"),
        "numbered": ("small", "moderate", "large"),
    },
    "adverb": {
        "plain": ("mildly", "moderately", "severely"),
        "terse": ("mildly", "moderately", "severely"),
        "numbered": ("slightly", "moderately", "markedly"),
    },
}
"""Words for mild, moderate and severe: of a degree, of a size, and before an adjective."""

SIZED = frozenset({"pleural effusion", "pneumothorax"})
"""Findings whose grade is said as a size."""

ZONE_WORDS: dict[Style, dict[str, tuple[str, ...]]] = {
    "plain": {
        "upper zone": ("upper zone", "upper lung zone"),
        "middle zone": ("middle zone", "mid lung zone"),
        "lower zone": ("lower zone", "lower lung zone"),
    },
    "terse": {"upper zone": ("upper zone",), "middle zone": ("mid zone",), "lower zone": ("lower zone",)},
    "numbered": {
        "upper zone": ("upper lung field",),
        "middle zone": ("mid lung field",),
        "lower zone": ("lower lung field",),
    },
}
"""Names of the three zones."""

_ALL_LUNG = frozenset({
    "lung opacity", "nodule", "mass", "pulmonary edema", "consolidation", "atelectasis", "emphysema",
    "interstitial pattern", "calcified granuloma",
})  # fmt: skip
_ALL_PLEURA = frozenset({"pneumothorax", "pleural effusion", "pleural thickening"})
_ALL_HEART = frozenset({"cardiomegaly", "enlarged cardiomediastinum"})


@dataclass(frozen=True)
class Normal:
    """A normal statement, and what it denies."""

    region: str
    """Where it belongs; at most one is made per region."""
    denies: frozenset[str]
    """It is not made when any of these is present or has just resolved."""
    words: dict[Style, tuple[str, ...]]
    """The statements, by style."""


NORMALS: tuple[Normal, ...] = (
    Normal("lungs", _ALL_LUNG | _ALL_PLEURA, {
        "plain": ("The lungs are clear.", "Both lungs are clear.", "The lungs are well expanded and clear."),
        "terse": ("Lungs clear.", "Clear lungs.", "Lungs are clear."),
        "numbered": ("The lung fields are clear.", "Both lung fields are clear."),
    }),
    Normal("lungs", frozenset({"consolidation", "lung opacity", "pulmonary edema"}), {
        "plain": ("There is no focal consolidation.", "No consolidation is seen."),
        "terse": ("No consolidation.", "No focal consolidation."),
        "numbered": ("No consolidation is identified.", "Consolidation is absent."),
    }),
    Normal("pleura", _ALL_PLEURA, {
        "plain": ("There is no pleural effusion or pneumothorax.", "No pleural effusion or pneumothorax is seen.",
                  "No effusion or pneumothorax."),
        "terse": ("No effusion or pneumothorax.", "No pneumothorax or effusion.", "No pleural effusion or pneumothorax."),
        "numbered": ("Neither pneumothorax nor effusion is identified.", "No pneumothorax or pleural fluid is identified."),
    }),
    Normal("pleura", frozenset({"pneumothorax"}), {
        "plain": ("There is no pneumothorax.", "No pneumothorax is seen."),
        "terse": ("No pneumothorax.",),
        "numbered": ("No pneumothorax is identified.",),
    }),
    Normal("pleura", frozenset({"pleural effusion"}), {
        "plain": ("There is no pleural effusion.", "No pleural effusion is seen."),
        "terse": ("No effusion.", "No pleural effusion."),
        "numbered": ("No pleural fluid is identified.",),
    }),
    Normal("heart", _ALL_HEART, {
        "plain": ("The heart size is normal.", "The heart is normal in size.", "The cardiac silhouette is normal."),
        "terse": ("Heart size normal.", "Normal heart size.", "Heart normal."),
        "numbered": ("The heart is not enlarged.", "Cardiac size is within normal limits."),
    }),
    Normal("heart", _ALL_HEART | {"hilar enlargement", "aortic calcification", "hiatal hernia"}, {
        "plain": ("The cardiomediastinal silhouette is normal.", "The heart and mediastinum are normal."),
        "terse": ("Cardiomediastinal silhouette normal.", "Heart and mediastinum normal."),
        "numbered": ("The cardiomediastinal contour is unremarkable.",),
    }),
    Normal("bones", frozenset({"rib fracture", "scoliosis"}), {
        "plain": ("There is no acute bony abnormality.", "The bones are intact.", "No rib fracture is seen."),
        "terse": ("No acute bony abnormality.", "Bones intact.", "No rib fracture."),
        "numbered": ("The skeleton is unremarkable.", "No fracture is identified."),
    }),
    Normal("abdomen", frozenset({"pneumoperitoneum", "elevated hemidiaphragm", "hiatal hernia"}), {
        "plain": ("There is no free air.", "The upper abdomen is normal."),
        "terse": ("No free air.",),
        "numbered": ("No free air is identified.",),
    }),
)  # fmt: skip
"""What may be said of what is not there."""

ALL_NORMAL: dict[Style, tuple[str, ...]] = {
    "plain": ("Normal chest radiograph.", "No acute cardiopulmonary abnormality.", "No acute cardiopulmonary disease.",
              "Normal chest."),
    "terse": ("No acute abnormality.", "Normal chest.", "No acute cardiopulmonary abnormality.", "No acute disease."),
    "numbered": ("1. Unremarkable chest examination.", "1. No active chest disease.", "1. Normal study."),
}  # fmt: skip
"""Impressions of a study without findings."""

NOTHING_ACUTE: dict[Style, tuple[str, ...]] = {
    "plain": ("No acute cardiopulmonary abnormality.", "No acute cardiopulmonary disease."),
    "terse": ("No acute cardiopulmonary abnormality.",),
    "numbered": ("1. No active cardiopulmonary disease.",),
}
"""Impressions of a study with devices or old findings only."""

OPENINGS: dict[Style, dict[str, tuple[str, ...]]] = {
    "plain": {
        "PA": ("Single frontal view of the chest.", "PA view of the chest.", "", ""),
        "AP": ("Portable AP view of the chest.", "AP view of the chest.", "", ""),
    },
    "terse": {"PA": ("PA view.", "", ""), "AP": ("AP view.", "Portable AP.", "")},
    "numbered": {
        "PA": ("A frontal chest image was obtained and reviewed.", "Frontal examination, PA projection."),
        "AP": ("A bedside chest image was obtained and reviewed.", "Frontal examination, AP projection."),
    },
}
"""Boilerplate before the findings."""

INDICATIONS: dict[str, tuple[str, ...]] = {
    "lungs": ("cough and fever", "cough", "shortness of breath", "weight loss", "fever", "hypoxia"),
    "pleura": ("shortness of breath", "chest pain", "hypoxia", "pain on breathing"),
    "heart": ("shortness of breath", "leg swelling", "chest pain", "hypertension"),
    "bones": ("fall", "trauma", "chest pain", "back pain"),
    "abdomen": ("abdominal pain", "vomiting", "postoperative", "chest pain"),
    "devices": ("line placement", "tube placement", "intensive care follow-up", "postoperative"),
    "none": ("preoperative", "screening", "routine check", "cough", "chest pain", "fever", "dizziness", "palpitations"),
}
"""Why a study was asked for, by region of what it shows; drawn from ``none`` half of the time so as not to tell."""
