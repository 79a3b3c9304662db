"""Does an answer say "I don't know"? Only its lead counts, and what it claims beside that must still be grounded."""

import re
from functools import lru_cache
from typing import NamedTuple

from factory.mining.text import Sentence, content_words, normalise, sentences
from factory.mining.untold import untold

LEAD = 2
"""Sentences from the start in which a refusal counts; further down it is mostly a remark within an answer."""

_SOURCE = r"(?:context|passages?|documents?|texts?|excerpts?|sources?|articles?|information|snippets?|search results?)"
_ENGLISH = rf"""
    \bi\ (?:\w+\ )?(?:do\ not|don't|dont)\ (?:\w+\ )?know\b(?!\ (?:if|whether|that)\ you)
  | \bi\ (?:do\ not|don't|dont)\ (?:\w+\ )?have\ (?:\w+\ ){{0,3}}(?:information|details|data|knowledge|context|answer)
  | \bi\ have\ no\ (?:\w+\ )?(?:information|idea|knowledge|details|data)
  | \bi(?:'m|\ am)\ not\ (?:sure|certain|aware|able\ to\ (?:answer|find|determine|say|tell|provide))\b
  | \bi\ (?:\w+\ )?(?:cannot|can\ not|can't|could\ not|couldn't|am\ unable\ to|was\ unable\ to)\ (?:\w+\ )?
    (?:find|answer|determine|tell|say|provide|locate|confirm|help|assist|see|give)\b
  | ^(?:\w+,?\ )?unable\ to\ (?:answer|find|determine)
  | \b(?:question|it|this|that|answer)\ (?:cannot|can't|can\ not|could\ not)\ be\ (?:answered|determined|found)
  | \b{_SOURCE}\ (?:\w+\ ){{0,4}}
    (?:do\ not|don't|does\ not|doesn't|did\ not|didn't|cannot|fails?\ to)\ (?:\w+\ )?
    (?:contain|mention|provide|include|say|specify|state|give|answer|hold|indicate|address|discuss|explain|tell
    |describe|offer)
  | \bnot\ (?:\w+\ )?(?:mentioned|specified|stated|provided|contained|included|given|covered|available|found|addressed
    |discussed|answered|described|indicated|present)\ (?:in|by|within|from)\ (?:\w+\ ){{0,4}}{_SOURCE}
  | \b(?:there\ is|there's|there\ are|i\ (?:see|find|found)|contains?|provides?|offers?)\ (?:\w+\ )?
    (?:no|not\ enough|insufficient)\ (?:\w+\ ){{0,2}}
    (?:information|mention|details|data|context|answer|passages?|evidence)
  | ^(?:\w+,?\ )?(?:no|not\ enough|insufficient)\ (?:\w+\ )?(?:information|answer|context|details)\b
  | \bit\ is\ (?:not\ possible|impossible)\ to\ (?:answer|determine|say|tell)
  | \bno\ answer\ (?:can|could|is|was)\b
"""
_OTHERS = r"""
    \bweiss\ (?:ich\ )?(?:es\ |das\ )?(?:leider\ )?nicht
  | \b(?:kann|konnte)\ (?:ich\ )?(?:\w+\ ){0,4}nicht\ (?:beantworten|finden|sagen|beantwortet\ werden)
  | \b(?:keine|nicht\ genug|nicht\ genügend)\ (?:\w+\ )?(?:informationen|angaben|hinweise)\b
  | \b(?:kontext|text|passagen?|dokumente?n?|quellen?|abschnitte?n?|auszüge?n?)\ (?:\w+\ ){0,4}
    (?:nicht\ (?:hervor|enthalten|erwähnt|angegeben|genannt)|keine\ antwort)
  | \bje\ (?:ne\ )?(?:le\ )?sais\ pas | \bje\ ne\ (?:trouve|peux|dispose|connais)\ pas
  | \bne\ (?:\w+\ )?(?:contient|contiennent|mentionne|mentionnent|précise|précisent|permet|permettent|fournit
    |fournissent|donne|donnent|indique|indiquent)\ (?:pas|aucun)
  | \b(?:aucune|pas\ d'|pas\ assez\ d')\s?information
  | \bno\ (?:lo\ )?sé\b | \bno\ (?:tengo|dispongo\ de|hay|encuentro|se\ encuentra)\ (?:\w+\ ){0,2}información
  | \bno\ (?:puedo|es\ posible)\ (?:responder|encontrar|determinar)
  | \bno\ se\ (?:menciona|indica|especifica|proporciona)
  | \b(?:contexto|texto|pasajes?|documentos?|fragmentos?)\ (?:\w+\ ){0,2}no
    \ (?:contienen?|mencionan?|incluyen?|proporcionan?|especifican?|indican?|dicen?|dan)
  | \bnon\ (?:lo\ )?so\b | \bnon\ (?:ho|dispongo\ di|ci\ sono|trovo)\ (?:\w+\ ){0,2}informazion
  | \bnon\ (?:posso|è\ possibile)\ (?:rispondere|determinare)
  | \b(?:contesto|testo|passaggi|documenti|brani)\ (?:\w+\ ){0,2}non
    \ (?:conten|contien|contengono|menzion|riporta|specific|fornisc|indica)
  | \bweet\ (?:ik\ )?(?:het\ |dat\ )?(?:helaas\ )?niet\b
  | \bkan\ (?:ik\ )?(?:\w+\ ){0,4}niet\ (?:vinden|beantwoorden|zeggen)
  | \b(?:geen|niet\ genoeg|onvoldoende)\ (?:\w+\ )?informatie\b
  | \b(?:context|tekst|passages?|documenten|bronnen)\ (?:\w+\ ){0,3}(?:niet\ (?:vermeld|genoemd)|geen\ antwoord)
  | \bnão\ (?:o\ )?sei\b | \bnão\ (?:tenho|há|encontro|disponho\ de)\ (?:\w+\ ){0,2}informaç
  | \bnão\ (?:posso|consigo|é\ possível)\ (?:responder|encontrar|determinar)
  | \b(?:contexto|texto|trechos?|documentos?|passagens)\ (?:\w+\ ){0,2}não
    \ (?:cont[ée]m|mencionam?|incluem?|fornecem?|especificam?|indicam?|diz|dizem)
"""
_REFUSAL = re.compile(_ENGLISH + "|" + _OTHERS, re.VERBOSE)
_COURTESY = re.compile(
    r"\b(?:sorry|apologi[sz]e|apologies|unfortunately|thank|thanks|please|let me know|feel free|contact|hello|hi|hope|"
    r"leider|entschuldigung|bitte|désolée?|malheureusement|lo siento|lamentablemente|por favor|mi dispiace|purtroppo|"
    r"helaas|alstublieft|desculpe|infelizmente)\b|\bi(?:'m| am|'d be| would be) (?:happy|glad)\b|"
    r"\bi can (?:help|assist)\b"
)
_ASIDE = re.compile(
    r"\?\W*$|^(?:if you (?:like|want|wish|prefer|need)\b|would you\b|shall i\b"
    r"|i(?:'ve| have)? (?:checked|looked|searched|went through|read)\b"
    r"|i can (?:also )?(?:connect|forward|check|look|ask|pass|transfer|search)\b"
    r"|(?:i|we) (?:would )?(?:recommend|suggest|advise) (?:that you )?"
    r"(?:contact|ask|consult|check|speak|call|reach|visit)"
    r"|(?:you (?:may|can|could|should|might) (?:want to )?)?(?:ask|consult|contact|call|speak to|reach out to)\b"
    r"|gerne? (?:leite|helfe|verbinde)\b)"
    r"|\b(?:best (?:place|person|people) to ask)\b"
    rf"|^(?:they|these|it|the (?:\w+ ){{0,2}}{_SOURCE}) (?:only |mainly |just )*(?:covers?|deals?|discuss(?:es)?|talks?"
    r"|describes?|(?:is|are) about)\b"
)
"""Beside a refusal: a question, an offer, advice whom to ask, or a remark on what the passages are about."""
_TURN = re.compile(
    r"[,;:.–—-]?\s+(?:but|however|although|though|yet|still|aber|allerdings|jedoch|mais|cependant|toutefois|pero|"
    r"sin embargo|ma|però|tuttavia|maar|echter|mas|porém|contudo)\b[,:]?\s*",
    re.IGNORECASE,
)
"""Where a sentence turns: "I'm not sure, but …"."""
_DENIAL = re.compile(
    r"no[nt]?\b|n't\b|dont\b|unable|insufficient|impossible|fails? to|nicht|keine|pas|aucun|niet|geen|onvoldoende|não"
)
"""No refusal does without one of these, which are found much faster."""


class Abstention(NamedTuple):
    """What an answer's refusal looks like."""

    abstains: bool
    """The lead says that the answer is not known."""
    claims: tuple[Sentence, ...]
    """When it abstains: its other sentences that claim something, and what the refusing sentence itself claims before
    or after a "but". A refusal never exempts them from grounding."""
    refusal: Sentence | None = None
    """The sentence of the lead that says so."""


def read_abstention(text: str, house_wording: str, query: str = "") -> Abstention:
    """Find a refusal in the first two sentences, and what is claimed beside it.

    With the query, a sentence that says nothing but that this is not told counts as well, however it is worded.
    """
    found = sentences(text)
    wording = _plain(house_wording)
    refusal = next((s for s in found[:LEAD] if _refuses(text[s.start : s.end], wording, query)), None)
    if refusal is None:
        return Abstention(False, ())
    claims = (one for sentence in found for one in _beside(text, sentence, wording, query))
    return Abstention(True, tuple(claims), refusal)


def is_abstention(text: str, house_wording: str) -> bool:
    """True when the first two sentences say "I don't know", in the house wording or another.

    Knows wordings of English, German, French, Spanish, Italian, Dutch and Portuguese. "Sorry, but X is
    not included" is an answer.
    """
    return read_abstention(text, house_wording).abstains


def _beside(text: str, sentence: Sentence, wording: str, query: str) -> list[Sentence]:
    """The parts of a sentence that claim something and do not refuse: all of it, unless some part refuses."""
    parts = [sentence]
    if _refuses(text[sentence.start : sentence.end], wording, query):
        turns = list(_TURN.finditer(text, sentence.start, sentence.end))
        starts = [sentence.start, *(turn.end() for turn in turns)]
        ends = [*(turn.start() for turn in turns), sentence.end]
        split = [(text[start:end], Sentence(start, end)) for start, end in zip(starts, ends, strict=True)]
        parts = [part for said, part in split if not _refuses(said, wording, query) and _plain(said) not in wording]
    return [part for part in parts if _claims(text[part.start : part.end])]


def _refuses(sentence: str, wording: str, query: str) -> bool:
    plain = _plain(sentence)
    worded = wording in plain or (_DENIAL.search(plain) is not None and _REFUSAL.search(plain) is not None)
    return worded or (bool(query) and untold(sentence, query))


def _claims(sentence: str) -> bool:
    plain = _plain(sentence)
    aside = _COURTESY.search(plain) or _ASIDE.search(plain)
    return aside is None and any(word.weight == 1 for word in content_words(sentence))


@lru_cache(maxsize=10_000)
def _plain(text: str) -> str:
    return normalise(text).casefold().rstrip(".!")
