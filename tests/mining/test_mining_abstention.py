import pytest
from hypothesis import given
from hypothesis import strategies as st

from factory.mining import abstention
from factory.mining.abstention import is_abstention, read_abstention

HOUSE = "Das steht nicht in unseren Unterlagen."


@pytest.mark.parametrize(
    "text",
    [
        "I don't know.",
        "I don’t know based on the provided context.",
        "i do n't know",
        "I do not have enough information to answer that.",
        "I'm sorry, but I cannot find this in the passages.",
        "Unfortunately, the provided context does not contain information about the Cargo plan.",
        "The passages do not mention a helmet rule [1][2].",
        "The answer is not specified in the given text.",
        "There is no information about that in the documents.",
        "Based on the context, I cannot determine the price.",
        "Thank you for asking! I'm not sure about that.",
        "Unable to answer from the context.",
        "It is not possible to say.",
        "Das steht nicht in unseren Unterlagen.",
        "Leider: das steht nicht in unseren Unterlagen",
        "Das weiß ich leider nicht.",
        "Der Kontext enthält keine Informationen dazu.",
        "Je ne sais pas.",
        "Les passages ne mentionnent pas ce sujet.",
        "No lo sé.",
        "El contexto no menciona el precio.",
        "Non lo so.",
        "Il contesto non contiene informazioni.",
        "Dat weet ik niet.",
        "De context bevat geen informatie hierover.",
        "Não sei.",
        "O contexto não menciona isso.",
    ],
)
def test_wordings_of_i_do_not_know(text: str) -> None:
    assert is_abstention(text, HOUSE)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Sorry, but the Cargo plan is not included in the trial.",
        "No, the Cargo plan has no trial.",
        "The documents must not be older than 3 months.",
        "You cannot cancel before the minimum term is over.",
        "It does not include insurance. The price is 72 euros.",
        "I know that the City plan costs 72 euros.",
        "The City plan costs 72 euros. All prices include VAT. I don't know more than that.",
        "Pedalport does not provide a lawyer.",
        "I don't know if you have an account, but open Plan and tap End trial.",
    ],
)
def test_answers_are_not_refusals(text: str) -> None:
    assert not is_abstention(text, HOUSE)


def test_a_refusal_that_adds_knowledge_keeps_its_claims() -> None:
    text = "I'm sorry. The passages do not mention this. However, Einstein was born in Ulm in 1879. Please ask again."
    found = read_abstention(text, HOUSE)
    assert found.abstains
    assert [text[s.start : s.end] for s in found.claims] == ["However, Einstein was born in Ulm in 1879."]
    assert read_abstention("I don't know. Please contact support.", HOUSE).claims == ()


@pytest.mark.parametrize(
    ("text", "claims"),
    [
        ("I'm not sure, but Einstein was born in Ulm.", ["Einstein was born in Ulm."]),
        ("I’m not sure – but Einstein was born in Ulm.", ["Einstein was born in Ulm."]),
        ("Einstein was born in Ulm, but I'm not sure.", ["Einstein was born in Ulm"]),
        ("I don't know exactly; however, the fee is 72 euros.", ["the fee is 72 euros."]),
        ("Ich weiß es nicht, aber Einstein wurde in Ulm geboren.", ["Einstein wurde in Ulm geboren."]),
        ("Je ne sais pas, mais Einstein est né à Ulm. Il avait un frère.",
         ["Einstein est né à Ulm.", "Il avait un frère."]),
        ("I'm sorry, but I cannot find this in the passages.", []),
        ("I don't know, but please contact support.", []),
        ("I don't know, but I can help with another question.", []),
        ("Unfortunately I'm not sure, but I'd be happy to look again.", []),
        ("Das steht nicht in unseren Unterlagen, aber Einstein wurde in Ulm geboren.",
         ["Einstein wurde in Ulm geboren."]),
        ("Das steht nicht in unseren Unterlagen.", []),
    ],
)  # fmt: skip
def test_what_a_refusal_claims_in_the_same_sentence_is_a_claim(text: str, claims: list[str]) -> None:
    found = read_abstention(text, HOUSE)
    assert found.abstains
    assert [text[s.start : s.end] for s in found.claims] == claims


def test_a_house_wording_with_a_but_claims_nothing() -> None:
    wording = "I cannot say, but our desk in Utrecht knows."
    assert read_abstention(wording, wording).claims == ()


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("Is there a Ruby SDK?", "The documentation provided doesn't say whether there is a Ruby SDK."),
        ("Can I drink alcohol with it?", "The excerpts I have say nothing about alcohol."),
        ("Is breakfast included?", "It's unclear from the passages whether breakfast is included."),
        ("Can I bring a stroller?", "The leaflet is silent on strollers."),
        ("Who signed it?", "Nothing in these pages tells who signed it."),
        ("Kann ich stornieren?", "In den Unterlagen finde ich keine Angabe, ob du stornieren kannst."),
        ("Puis-je annuler ?", "Les documents ne disent pas si vous pouvez annuler."),
        ("¿Quién es?", "No tengo datos sobre eso."),
    ],
)
def test_refusals_in_words_that_no_list_holds(query: str, text: str) -> None:
    found = read_abstention(text, HOUSE, query)
    assert found.abstains and found.claims == ()


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("Do I need a document to enter?", "No document is needed to enter."),
        ("Are text messages included?", "Text messages are not included in the plan."),
        ("Can I buy this article in a store?", "This article is not available in stores."),
        ("Do you have a guide dog policy?", "We have no guide dog policy."),
        ("May I share the manual?", "The manual must not be shared."),
        ("headphones while riding allowed?", "The answer is: no."),
        ("Is support chat open on Sundays?", "1. The answer is yes. 2. The answer is no."),
        ("Is smoking allowed?", "The manual says no."),
        ("Does it pay for wages while I am ill?", "The answer is no. It does not pay for wages while I am ill."),
        ("Are refunds possible?", "The document says no refunds."),
        ("Do you have a shop in Berlin?", "No, I don't have a shop in Berlin."),
        ("¿Se puede fumar?", "El documento dice que no."),
        ("Can I see my results?", "You can't see results before Friday."),
        ("Must I give my income?", "The form does not ask for your income."),
        ("¿Está abierta los lunes?", "No, la piscina no está abierta los lunes."),
    ],
)
def test_answers_that_deny_are_not_refusals(query: str, text: str) -> None:
    assert not read_abstention(text, HOUSE, query).abstains


@pytest.mark.parametrize(
    "beside",
    [
        "Would you like help with another step?",
        "If you like, I can connect you with our claims team.",
        "I would recommend contacting customer service.",
        "The admissions office would be the best place to ask.",
        "They only cover lost cards.",
    ],
)
def test_an_offer_beside_a_refusal_is_no_claim(beside: str) -> None:
    assert read_abstention(f"The passages do not mention this. {beside}", HOUSE).claims == ()


@given(st.from_regex(abstention._REFUSAL))
def test_the_quick_look_for_a_denial_misses_no_refusal(sentence: str) -> None:
    assert abstention._DENIAL.search(sentence)
