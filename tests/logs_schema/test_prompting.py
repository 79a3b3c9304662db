from hypothesis import given, settings
from hypothesis import strategies as st

from logs_schema.prompting import infer, with_prompt
from logs_schema.records import Context, Message, PromptTemplate
from tests.logs_schema.log_examples import record

QUERY = "How long does the warranty last?"
CONTEXTS = tuple(
    Context(text=text, title=title)
    for text, title in [
        ("The warranty lasts two years, and begins with the invoice.", "Warranty terms"),
        ("Postage is free from 50 euros on. Below that it costs 4 euros.", "Postage"),
        ("Returns are possible within 30 days, in the first packaging.", "Returns"),
    ]
)
LAYOUTS = [
    PromptTemplate(),
    PromptTemplate(system="Be brief.", passage="[{n}] {title}: {text}", joiner="\n"),
    PromptTemplate(passage='<doc id="{n}" title="{title}">\n{text}\n</doc>', joiner="\n", user="{contexts}\n\n{query}"),
    PromptTemplate(passage="- {text}", joiner="\n", user="Question: {query}\n\nSources:\n{contexts}\n\nAnswer:"),
    PromptTemplate(passage="{text}", joiner="\n---\n", user="Use:\n{contexts}\n\nQ: {query}\nAgain: {query}"),
    PromptTemplate(passage="{text} (source {n})", joiner="\n\n", user="{query}\n\n{contexts}"),
    PromptTemplate(passage="Passage {n}\n{text}", joiner="\n\n\n", user="Among 1 and 2:\n\n{contexts}\n\nQ: {query}"),
]


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(LAYOUTS), st.integers(2, 3), st.booleans())
def test_templates_are_read_off_the_messages(template: PromptTemplate, count: int, talked: bool) -> None:
    history = (Message(role="user", content="Hello"), Message(role="assistant", content="Hi")) if talked else ()
    messages = template.render(QUERY, CONTEXTS[:count], history)
    found = infer(messages, QUERY, CONTEXTS[:count])
    assert found is not None
    assert (found.template, found.history, found.truncated) == (template, history, False)


@given(st.sampled_from([layout for layout in LAYOUTS if layout.joiner == "\n\n" and "source" not in layout.passage]))
def test_one_passage_gives_the_same_template_as_many(template: PromptTemplate) -> None:
    found = infer(template.render(QUERY, CONTEXTS[:1]), QUERY, CONTEXTS[:1])
    assert found is not None and found.template == template


text = st.text("ab1[] \n.{}", min_size=1, max_size=12)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.builds(Context, text=text, title=st.none() | text), max_size=4).map(tuple), text, text, text, text)
def test_what_is_found_always_renders_the_messages(
    contexts: tuple[Context, ...], query: str, passage: str, joiner: str, user: str
) -> None:
    template = PromptTemplate(passage=passage + "{text}", joiner=joiner, user=user + "{contexts} {query}")
    messages = template.render(query, contexts)
    found = infer(messages, query, contexts)
    if found and not found.truncated:
        assert found.template.render(query, contexts, found.history) == messages


def test_many_records_give_one_template() -> None:
    template = LAYOUTS[1]
    found = set()
    for number in range(30):
        contexts = tuple(
            Context(text=f"Text {number} about thing {n}, {n} times.", title=f"Thing {n}")
            for n in range(1, 4 + number % 3)
        )
        query = f"What about thing {number}?"
        inferred = infer(template.render(query, contexts), query, contexts)
        found.add(inferred and inferred.template)
    assert found == {template}


def test_cut_and_left_out_passages_are_told() -> None:
    template = PromptTemplate(system="Be brief.")
    cut = (CONTEXTS[0], CONTEXTS[1].model_copy(update={"text": CONTEXTS[1].text[:30]}), CONTEXTS[2])
    marked = (CONTEXTS[0].model_copy(update={"text": CONTEXTS[0].text[:30] + "..."}), *CONTEXTS[1:])
    last = (*CONTEXTS[:2], CONTEXTS[2].model_copy(update={"text": CONTEXTS[2].text[:26]}))
    for shown in (cut, marked, last, CONTEXTS[:2]):
        found = infer(template.render(QUERY, shown), QUERY, CONTEXTS)
        assert found is not None
        assert (found.template, found.truncated) == (template, True)


def test_messages_that_do_not_fit_give_nothing() -> None:
    rendered = PromptTemplate().render(QUERY, CONTEXTS)
    swapped = (CONTEXTS[1], CONTEXTS[0], CONTEXTS[2])
    assert infer(rendered, QUERY, swapped) is None
    assert infer(rendered, QUERY, ()) is None
    assert infer((), QUERY, CONTEXTS) is None
    assert infer((*rendered, Message(role="assistant", content="Two years.")), QUERY, CONTEXTS) is None
    assert infer((Message(role="user", content=QUERY),), QUERY, CONTEXTS) is None


def test_overlapping_passages_are_told_apart() -> None:
    overlapping = (Context(text="one two three four"), Context(text="three four five six"), Context(text="five six"))
    messages = PromptTemplate().render(QUERY, overlapping)
    found = infer(messages, QUERY, overlapping)
    assert found is not None and found.template == PromptTemplate() and not found.truncated


def test_a_record_takes_what_its_messages_tell() -> None:
    plain = record(1)
    history = (Message(role="user", content="Hello"), Message(role="assistant", content="Hi"))
    told = with_prompt(plain, PromptTemplate().render(plain.query, plain.contexts, history))
    assert (told.prompt, told.truncated, told.history) == (PromptTemplate(), False, history)
    assert with_prompt(plain, history) == plain
