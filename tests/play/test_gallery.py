"""The gallery's pages."""

import re
import xml.etree.ElementTree as ElementTree

import pytest

from optiscope.errors import BadInput
from optiscope.view.gallery import gallery


def test_a_page_has_the_formula_the_pictures_the_fields_the_mechanisms_and_code(tmp_path):
    index, page = gallery(tmp_path, ["momentum"])
    assert 'href="momentum.html"' in index.read_text(encoding="utf-8")
    text = page.read_text(encoding="utf-8")
    assert "v ← μ v + g" in text
    assert "OneMinusLogUniform(0.001, 1)" in text
    assert "momentum 0.9" in text  # as explain reads it, from the dynamics
    pictures = re.findall(r'<img src="([^"]+)"', text)
    assert len(pictures) == 4
    for picture in pictures:
        assert ElementTree.parse(tmp_path / picture).getroot().tag.endswith("svg")
    assert all(f"<span>{framework}</span>" in text for framework in ("PyTorch", "optax", "Keras"))
    assert "http" not in re.sub(r"http-equiv", "", text)


def test_an_unknown_rule_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(BadInput, match="did you mean 'adam'"):
        gallery(tmp_path / "out", ["admm"])
    assert not (tmp_path / "out").exists()
