"""Templates: strict about the text, strict about missing parameters."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import InvalidJob, MissingParameter
from gateway.personalise import Template, TooLong


@pytest.mark.parametrize(
    ("text", "params", "rendered"),
    [
        ("Hola", {}, "Hola"),
        ("", {}, ""),
        ("{a}", {"a": "Ana"}, "Ana"),
        ("{a}{b} {a}", {"a": "x", "b": "y"}, "xy x"),
        ("{año} días", {"año": 3}, "3 días"),
        ("{{a}} {a}", {"a": "x"}, "{a} x"),
        ("{{{a}}}", {"a": "x"}, "{x}"),
        ("{{}}", {}, "{}"),
        ("100 % de {a} %s %(a)s", {"a": "x"}, "100 % de x %s %(a)s"),
        ("100 %", {}, "100 %"),
        ("{n} {x} {y}", {"n": 10, "x": 10.0, "y": 0.5}, "10 10.0 0.5"),
        ("{a}", {"a": "{b} %s", "b": "never"}, "{b} %s"),
        ("{a}", {"a": "x", "unused": "y"}, "x"),
    ],
)
def test_placeholders_are_filled(text: str, params: dict[str, str | int | float], rendered: str) -> None:
    """Values go in as they are and are never read as templates; braces and percent signs mean themselves."""
    assert Template(text).render(params) == rendered


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "}",
        "a } b",
        "{a",
        "a}",
        "{a{b}}",
        "{a}}",
        "{}",
        "{0}",
        "{ a }",
        "{a.b}",
        "{a[0]}",
        "{a.__class__}",
        "{a!r}",
        "{a:>10}",
        "{a-b}",
    ],
)
def test_anything_but_plain_names_refuses_the_job(text: str) -> None:
    """No attribute, index, conversion, format or unbalanced brace gets through."""
    with pytest.raises(InvalidJob, match="character"):
        Template(text)


def test_the_refusal_says_where_and_does_not_quote() -> None:
    """The reason ends up in logs; the text belongs to the person."""
    with pytest.raises(InvalidJob) as caught:
        Template("Ana debe {300 pesos}")
    assert "character 10" in caught.value.reason
    assert "pesos" not in caught.value.reason


@pytest.mark.parametrize("text", ["{nombre}", "Hola {nombre}, {fecha}", "{fecha} {nombre}"])
def test_a_missing_parameter_is_named(text: str) -> None:
    """Also when others are there."""
    with pytest.raises(MissingParameter) as caught:
        Template(text).render({"fecha": "25 nov"})
    assert caught.value.name == "nombre"


def test_a_value_is_not_multiplied_beyond_measure() -> None:
    """A few octets of text would make gigabytes of it; nobody's value is quoted."""
    with pytest.raises(TooLong) as caught:
        Template("{a}{b}" * 6500).render({"a": "x" * 100, "b": "y" * 60})
    assert str(caught.value) == "its values have 1040000 characters, 1000000 are allowed"


@given(st.lists(st.tuples(st.text(), st.sampled_from(["a", "b", "año"]))), st.text(), st.lists(st.text(), min_size=3))
def test_rendering_is_concatenation(pieces: list[tuple[str, str]], tail: str, values: list[str]) -> None:
    """Whatever the texts and values are, each stands where it was written."""
    params = dict(zip(["a", "b", "año"], values, strict=False))

    def escaped(text: str) -> str:
        return text.replace("{", "{{").replace("}", "}}")

    template = "".join(escaped(text) + "{" + name + "}" for text, name in pieces) + escaped(tail)
    assert Template(template).render(params) == "".join(text + params[name] for text, name in pieces) + tail


@given(st.text("{}a.0 %"))
def test_any_text_compiles_or_is_refused(text: str) -> None:
    """Nothing but InvalidJob comes out of the compiler, and what compiles renders."""
    try:
        template = Template(text)
    except InvalidJob:
        return
    template.render(dict.fromkeys(template.names, "x"))
