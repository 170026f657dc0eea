"""Contents: what goes together, what a recipient gets, and what never leaves because it does not fit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import content
from gateway.content import MAX_TEXT, Content, Renderer, Unrenderable
from gateway.errors import InvalidJob, MissingParameter

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "whatsapp_contents.json").read_text(encoding="utf-8"))
CARD = {"title": "{t}", "media": {"height": "MEDIUM", "contentInfo": {"fileUrl": "https://a.example/x.png"}}}
REPLY = {"reply": {"text": "Pagar", "postbackData": "PAY:{id}"}}


def content_of(**fields: Any) -> Content:
    """Decode as a job is decoded, so that what the schema refuses is refused here."""
    return msgspec.json.decode(json.dumps(fields).encode(), type=Content)


def renderer(**fields: Any) -> Renderer:
    return content.compile(content_of(**fields))


def template(*components: Any, **fields: Any) -> dict[str, Any]:
    return {"channel": "whatsapp", "template": "t", "language": "es", "components": list(components)} | fields


def body(text: str = "{a}", **fields: Any) -> dict[str, Any]:
    return {"type": "body", "parameters": [{"type": "text", "text": text} | fields]}


def header(**parameter: Any) -> dict[str, Any]:
    return {"type": "header", "parameters": [parameter]}


def button(sub_type: str, index: str = "0", **parameter: Any) -> dict[str, Any]:
    return {"type": "button", "sub_type": sub_type, "index": index, "parameters": [parameter]}


def amount(value: int | str, code: str = "MXN") -> dict[str, Any]:
    currency = {"fallback_value": "x", "code": code, "amount_1000": value}
    return {"type": "body", "parameters": [{"type": "currency", "currency": currency}]}


def buttons(*titles: str, **fields: Any) -> dict[str, Any]:
    taps = [{"type": "reply", "reply": {"id": title or "x", "title": title}} for title in titles]
    shape = {"type": "button", "body": {"text": "b"}, "action": {"buttons": taps}} | fields
    return {"channel": "whatsapp", "interactive": shape}


def menu(*sections: int, title: str = "s", text: str = "b") -> dict[str, Any]:
    shape = [
        {"title": title, "rows": [{"id": f"{number}.{row}", "title": "r"} for row in range(rows)]}
        for number, rows in enumerate(sections)
    ]
    action = {"button": "o", "sections": shape}
    return {"channel": "whatsapp", "interactive": {"type": "list", "body": {"text": text}, "action": action}}


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
def test_whatsapp_content_is_what_meta_wants(vector: dict[str, Any]) -> None:
    """Every shape of Meta's pages, starting with its type so that a provider can splice it."""
    rendered = renderer(channel="whatsapp", **vector["content"]).render(vector["params"])
    assert json.loads(rendered.content) == vector["sent"]
    assert rendered.content.startswith('{"type":"')
    assert rendered.text == ""


@pytest.mark.parametrize(
    ("fields", "sent"),
    [
        ({"text": "Hola {a}"}, {"contentMessage": {"text": "Hola x"}}),
        (
            {"text": "b", "suggestions": [REPLY], "traffic_type": "TRANSACTION"},
            {
                "contentMessage": {
                    "text": "b",
                    "suggestions": [{"reply": {"text": "Pagar", "postbackData": "PAY:7"}}],
                },
                "messageTrafficType": "TRANSACTION",
            },
        ),
        (
            {"card": {"cardContent": CARD | {"suggestions": [REPLY]}}},
            {
                "contentMessage": {
                    "richCard": {
                        "standaloneCard": {
                            "cardContent": {
                                "title": "T",
                                "media": CARD["media"],
                                "suggestions": [{"reply": {"text": "Pagar", "postbackData": "PAY:7"}}],
                            },
                            "cardOrientation": "VERTICAL",
                        }
                    }
                }
            },
        ),
        (
            {"carousel": {"cardContents": [CARD, {"description": "d"}], "cardWidth": "SMALL"}},
            {
                "contentMessage": {
                    "richCard": {
                        "carouselCard": {
                            "cardContents": [{"title": "T", "media": CARD["media"]}, {"description": "d"}],
                            "cardWidth": "SMALL",
                        }
                    }
                }
            },
        ),
        (
            {"media": {"type": "document", "document": {"link": "https://a.example/{id}.pdf"}}},
            {"contentMessage": {"contentInfo": {"fileUrl": "https://a.example/7.pdf"}}},
        ),
        (
            {
                "text": "b",
                "suggestions": [
                    {
                        "action": {
                            "text": "Ver",
                            "postbackData": "p",
                            "openUrlAction": {"url": "https://a.example/{id}"},
                        }
                    },
                    {"action": {"text": "Ver", "postbackData": "p", "dialAction": {"phoneNumber": "+573001234567"}}},
                    {
                        "action": {
                            "text": "Ver",
                            "postbackData": "p",
                            "viewLocationAction": {"latLong": {"latitude": "{lat}", "longitude": 0.0}},
                        }
                    },
                ],
            },
            {
                "contentMessage": {
                    "text": "b",
                    "suggestions": [
                        {
                            "action": {
                                "text": "Ver",
                                "postbackData": "p",
                                "openUrlAction": {"url": "https://a.example/7"},
                            }
                        },
                        {
                            "action": {
                                "text": "Ver",
                                "postbackData": "p",
                                "dialAction": {"phoneNumber": "+573001234567"},
                            }
                        },
                        {
                            "action": {
                                "text": "Ver",
                                "postbackData": "p",
                                "viewLocationAction": {"latLong": {"latitude": 4.6, "longitude": 0.0}},
                            }
                        },
                    ],
                }
            },
        ),
    ],
)
def test_rcs_content_is_what_google_wants(fields: dict[str, Any], sent: dict[str, Any]) -> None:
    """Google's names, numbers as numbers, and nothing that was left out."""
    rendered = renderer(channel="rcs", **fields).render({"a": "x", "t": "T", "id": 7, "lat": 4.6})
    assert (json.loads(rendered.content), rendered.text) == (sent, "")


@pytest.mark.parametrize(
    ("fields", "sent"),
    [
        ({"channel": "voice", "text": "Hola {a}"}, {"say": "Hola x"}),
        (
            {"channel": "voice", "text": "b", "language": "es-MX", "voice": "Polly.Mia"},
            {"say": "b", "language": "es-MX", "voice": "Polly.Mia"},
        ),
        ({"channel": "voice", "audio": "https://a.example/{a}.mp3"}, {"audio": "https://a.example/x.mp3"}),
        ({"channel": "email", "subject": "S {a}", "text": "T {a}"}, {"subject": "S x", "text": "T x"}),
        ({"channel": "email", "subject": "S", "html": "<p>{a}</p>"}, {"subject": "S", "html": "<p>x</p>"}),
    ],
)
def test_voice_and_mail(fields: dict[str, Any], sent: dict[str, Any]) -> None:
    """One flat object, which the providers of these channels take apart."""
    rendered = renderer(**fields).render({"a": "x"})
    assert (json.loads(rendered.content), rendered.text) == (sent, "")


def test_an_sms_is_its_text() -> None:
    """As it has always been: no JSON, nothing escaped."""
    rendered = renderer(text='Hola "{a}" 100 %').render({"a": "x"})
    assert (rendered.text, rendered.content) == ('Hola "x" 100 %', "")


def test_values_cannot_become_markup() -> None:
    """A name is not HTML; what the publisher wrote is, and Latin letters stay as they are."""
    sent = renderer(channel="email", subject="{a}", html="<b>{a}</b>").render({"a": '<i>"Ñ"&', "b": 1}).content
    assert json.loads(sent) == {"subject": '<i>"Ñ"&', "html": "<b>&lt;i&gt;&quot;Ñ&quot;&amp;</b>"}


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({}, "text: is empty"),
        ({"channel": "whatsapp"}, "template: is empty (give exactly one of template, interactive, media, text)"),
        ({"template": "t"}, "template: is not for sms (leave it out, or set channel to whatsapp)"),
        ({"channel": "rcs", "text": "b", "audio": "https://a.example"}, "audio: is not for rcs"),
        ({"channel": "email", "text": "b"}, "subject: is empty"),
        ({"channel": "email", "subject": "s"}, "text: is empty and so is html"),
        ({"channel": "voice", "text": "b", "audio": "https://a.example"}, "audio: goes not with text"),
        ({"channel": "voice", "audio": "https://a.example", "language": "es"}, "language: belongs to a text"),
        ({"channel": "voice", "audio": "http://a.example"}, "audio: is not an https URL"),
        (template() | buttons("a"), "template: goes not with interactive"),
        (template(text="b"), "template: goes not with text"),
        (template(language=""), "language: is empty"),
        (template(preview_url=True), "preview_url: belongs to a text"),
        ({"channel": "whatsapp", "text": "b", "language": "es"}, "language: belongs to a template"),
        ({"channel": "whatsapp", "text": "b", "components": [body()]}, "components: belongs to a template"),
        (buttons("a") | {"preview_url": True}, "preview_url: belongs to a text"),
        (template(body(), body()), "components[1]: is there twice"),
        (template(*[button("quick_reply", type="payload", payload="p")] * 2), "components[1]: is there twice"),
        (
            template(button("url", type="payload", payload="p")),
            "components[0].parameters[0]: is not for url (give it type text)",
        ),
        (template(header(type="image", image={})), "components[0].parameters[0].image: has neither id nor link"),
        (template(header(type="image", image={"id": "1", "link": "https://a.example"})), "image: has both id and link"),
        (template(header(type="image", image={"link": "ftp://a.example"})), "image.link: is not an http or https URL"),
        (template(header(type="text", text="x" * 61)), "text: has 61 characters, 60 are allowed"),
        (template(body("a\nb")), "components[0].parameters[0].text: has a line break, a tab or more than 4 spaces"),
        (template(body("a" + " " * 5 + "b")), "more than 4 spaces"),
        (template(body("")), "components[0].parameters[0].text: is empty"),
        (template(body("{a")), "components[0].parameters[0].text: a brace without its partner"),
        (template(body("{a.b}")), "is not a plain {name}"),
        (
            template({"type": "body", "parameters": [{"type": "text", "text": "a", "parameter_name": "n"}] * 2}),
            "repeated names",
        ),
        (
            template(
                {
                    "type": "body",
                    "parameters": [{"type": "text", "text": "a", "parameter_name": "n"}, {"type": "text", "text": "a"}],
                }
            ),
            "components[0].parameters: have missing or repeated names",
        ),
        (template(button("copy_code", type="coupon_code", coupon_code="25%")), "coupon_code: is not made of letters"),
        (template(reply_to="a b"), "reply_to: has a blank"),
        (buttons("x" * 21), "interactive.action.buttons[0].reply.title: has 21 characters, 20 are allowed"),
        (buttons("a", "a"), "interactive.action.buttons: have an id twice"),
        (buttons("a", body={"text": "x" * 1025}), "interactive.body.text: has 1025 characters"),
        (buttons("a", footer={"text": "x" * 61}), "interactive.footer.text: has 61 characters"),
        (buttons("a", header={"type": "video", "video": {}}), "interactive.header.video: has neither id nor link"),
        (menu(6, 5), "interactive.action.sections: have 11 rows together"),
        (menu(1, 1, title=""), "are several and one has no title"),
        (menu(1, text="x" * 4097), "interactive.body.text: has 4097 characters"),
        ({"channel": "whatsapp", "text": "x" * 4097}, "text: has 4097 characters, 4096 are allowed"),
        (
            {"channel": "whatsapp", "media": {"type": "sticker", "sticker": {}}},
            "media.sticker: has neither id nor link",
        ),
        ({"channel": "rcs", "text": "x" * 3073}, "text: has 3073 characters"),
        ({"channel": "rcs", "card": {"cardContent": {}}}, "card.cardContent: is empty"),
        ({"channel": "rcs", "text": "b", "suggestions": [{}]}, "suggestions[0]: is not one of reply and action"),
        (
            {"channel": "rcs", "text": "b", "suggestions": [{"action": {"text": "a", "postbackData": "p"}}]},
            "suggestions[0].action: does not do one thing",
        ),
        ({"channel": "rcs", "media": {"type": "image", "image": {"id": "1"}}}, "media.image.id: is not for rcs"),
        (
            {"channel": "rcs", "media": {"type": "image", "image": {"link": "https://a.example", "caption": "c"}}},
            "media.image.caption: is not for rcs",
        ),
        ({"channel": "voice", "text": "x" * 4001}, "text: has 4001 characters"),
        ({"channel": "email", "subject": "a\nBcc: b", "text": "t"}, "subject: has a line break"),
    ],
)
def test_what_makes_no_sense_refuses_the_job(fields: dict[str, Any], reason: str) -> None:
    """With the path of the field and what is wrong with it, before any recipient is looked at."""
    with pytest.raises(InvalidJob) as caught:
        renderer(**fields)
    assert reason in caught.value.reason


@pytest.mark.parametrize(
    "fields",
    [
        {"channel": "pigeon", "text": "b"},
        {"text": "b", "colour": "red"},
        {"text": "x" * (MAX_TEXT + 1)},
        template(template="Payment Due"),
        template(language="es MX"),
        template(button("url", index="10", type="text", text="a")),
        template(button("dance", type="text", text="a")),
        template(header(type="text", text="a"), header(type="hologram", hologram={})),
        template({"type": "header", "parameters": []}),
        template(body(colour="red")),
        template(*[body()] * 13),
        template(amount(1, code="peso")),
        buttons(*"abcd"),
        buttons(),
        menu(*[1] * 11),
        menu(11),
        {"channel": "rcs", "carousel": {"cardContents": [{"title": "one"}]}},
        {"channel": "rcs", "carousel": {"cardContents": [{"title": "one"}] * 11}},
        {"channel": "rcs", "text": "b", "suggestions": [REPLY] * 12},
        {"channel": "rcs", "card": {"cardContent": {"title": "t", "suggestions": [REPLY] * 5}}},
        {"channel": "rcs", "text": "b", "traffic_type": "SPAM"},
    ],
)
def test_what_the_schema_refuses(fields: dict[str, Any]) -> None:
    """Names, counts and enumerations that do not depend on a recipient are part of the contract's schema."""
    with pytest.raises(msgspec.ValidationError):
        content_of(**fields)


@pytest.mark.parametrize(
    ("fields", "value", "code", "text"),
    [
        (template(body()), "", "empty", "components[0].parameters[0].text is empty"),
        (template(body()), "x" * 1025, "too_long", "components[0].parameters[0].text has 1025 characters, 1024 are allowed"),
        (template(body("Ana {a}")), "x" * 1021, "too_long", "has 1025 characters"),
        (template(body()), "a\nb", "whitespace", "components[0].parameters[0].text has a line break"),
        (template(body()), "a\tb", "whitespace", "tab"),
        (template(body()), "a\rb", "whitespace", "line break"),
        (template(body("x {a}")), "    b", "whitespace", "4 spaces"),
        (template(header(type="text", text="{a}")), "x" * 61, "too_long", "60 are allowed"),
        (template(header(type="image", image={"link": "{a}"})), "not a url", "url", "image.link is not an http"),
        (template(header(type="image", image={"link": "https://{a}/x"})), "", "url", "is not an http or https URL"),
        (template(button("url", type="text", text="{a}")), "q z", "url", "has a blank"),
        (template(button("copy_code", type="coupon_code", coupon_code="{a}")), "x" * 21, "too_long", "20 are allowed"),
        (template(button("copy_code", type="coupon_code", coupon_code="{a}")), "ñ", "coupon", "letters and digits"),
        (
            template(amount("{a}")),
            "12.5",
            "number",
            "components[0].parameters[0].currency.amount_1000 is not a whole number",
        ),
        (template(reply_to="{a}"), "q z", "id", "reply_to has a blank"),
        ({"channel": "whatsapp", "text": "{a}"}, "x" * 4097, "too_long", "4096 are allowed"),
        (buttons("a", body={"text": "{a}"}), "", "empty", "interactive.body.text is empty"),
        ({"channel": "rcs", "text": "{a}"}, "x" * 3073, "too_long", "3072 are allowed"),
        ({"channel": "voice", "audio": "{a}"}, "http://a.example", "url", "audio is not an https URL"),
        ({"channel": "email", "subject": "{a}", "text": "t"}, "x\r\nBcc: b@a.example", "line_break", "subject has a line"),
        ({"channel": "email", "subject": "s", "html": "{a}"}, "&" * 20_001, "too_long", "html has 100005 characters"),
    ],
)  # fmt: skip
def test_a_value_that_does_not_fit_rejects_its_recipient(
    fields: dict[str, Any], value: str, code: str, text: str
) -> None:
    """With a code to group by and the field; the value itself is never quoted."""
    compiled = renderer(**fields)
    with pytest.raises(Unrenderable) as caught:
        compiled.render({"a": value})
    assert caught.value.code == code
    assert text in caught.value.text
    assert not value or value not in caught.value.text


@pytest.mark.parametrize(
    ("fields", "value"),
    [
        (template(body()), "x" * 1024),
        (template(body()), "a    b\u00a0\u200bñ 👋"),
        (template(header(type="text", text="{a}")), "x" * 60),
        (template(button("url", type="text", text="{a}")), "?q=1&r=%20#é"),
        (template(header(type="image", image={"link": "{a}"})), "HTTPS://a.example:8443/x?y#z"),
        ({"channel": "whatsapp", "text": "{a}"}, "a\n\tb     c"),
        (buttons("{a}"), "x" * 20),
    ],
)
def test_what_just_fits_goes(fields: dict[str, Any], value: str) -> None:
    """At the limit, and with characters that only look forbidden."""
    assert json.dumps(value, ensure_ascii=False)[1:-1] in renderer(**fields).render({"a": value}).content


def test_a_limit_is_about_what_the_person_gets() -> None:
    """A placeholder's name may be longer than what it stands for."""
    name = "a_name_that_is_longer_than_any_title_could_be"
    assert '"title":"Sí"' in renderer(**buttons("{" + name + "}")).render({name: "Sí"}).content


@pytest.mark.parametrize(
    "fields", [template(body("{a} {b}")), {"text": "{b}"}, {"channel": "email", "subject": "s", "html": "{b}"}]
)
def test_a_missing_parameter_is_named(fields: dict[str, Any]) -> None:
    """On every channel as in a text."""
    with pytest.raises(MissingParameter) as caught:
        renderer(**fields).render({"a": "x"})
    assert caught.value.name == "b"


@given(st.lists(st.tuples(st.text(), st.text()), min_size=1, max_size=4))
def test_any_text_arrives_as_it_was_given(pieces: list[tuple[str, str]]) -> None:
    """Whatever the fixed parts and the values are: quotes, percent signs, braces and line breaks are only characters."""
    fixed = ["".join(char * 2 if char in "{}" else char for char in text) for text, _ in pieces]
    text = "".join(f"{part}{{p{number}}}" for number, part in enumerate(fixed)) + "."
    params: dict[str, str | int | float] = {f"p{number}": value for number, (_, value) in enumerate(pieces)}
    sent = json.loads(renderer(channel="whatsapp", text=text).render(params).content)
    assert sent["text"]["body"] == "".join(part + value for part, value in pieces) + "."


def test_a_struct_that_inherits_is_a_content() -> None:
    """A job and a step of its plan are contents with fields of their own, which are not looked at here."""

    class Step(Content, kw_only=True):
        after: int

    step = msgspec.json.decode(b'{"after":60,"text":"Hola {a}"}', type=Step)
    assert content.compile(step).render({"a": "x"}).text == "Hola x"


def test_the_schema_says_what_the_limits_are() -> None:
    """Limits of personalised strings are words in it, since they are about the filled text; counts are numbers."""
    schema = json.dumps(msgspec.json.schema(Content))
    assert "1024 characters at most once they are" in schema
    assert '"maxItems": 3' in schema
