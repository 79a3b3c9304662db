"""Sentences that say nothing but that something is not told ("The manual says nothing about it"), however worded.

Phrases never end: so what counts is that a sentence denies, names its sources (or its speaker, who does not know), and
has no word of content beside those of the question and those that such sentences are made of. "Text messages are not
included" names no source when the question is about text messages, and "The answer is: No." names none at all.
"""

import re
from itertools import pairwise

from factory.mining.text import tokens
from factory.mining.words import NEGATIONS, SMALL_TALK

LONGEST = 40
"""Words of such a sentence at most."""
_DENIES = re.compile(
    r"\b(?:none|nothing|not|never|lacks?|lacking|silent|outside|beyond|unclear|unknown|insufficient|unable|"
    r"nichts|nicht|kein\w*|rien|pas|aucune?|nada|nessun\w*|niente|niet|niets|geen|nenhum\w*)\b|n't\b"
)
_NO = frozenset({"no", "non", "não"})
"""Deny what follows, or answer the question."""
_SOURCES = """
context passage document documentation text excerpt source article information info snippet result material knowledge
base handbook manual leaflet guide page section detail data mention file paper recipe faq
kontext dokument dokumente dokumenten unterlagen texte texten quelle quellen auszüge auszügen information informationen
angaben abschnitt hinweise auskunft
contexte documents passages textes extraits informations renseignement
contexto documento documentos textos fragmentos información informacion datos
contesto documento documenti testo testi brani informazione informazioni
documenten bronnen tekst teksten informatie
texto trechos informação informações
"""
_TELLING = """
answer question help frage antwort réponse respuesta pregunta risposta domanda antwoord vraag resposta pergunta
know find found see saw say said tell told respond address cover contain include state specify explain describe provide
give retrieve supply available look search check talk discuss determine confirm locate able have seem appear anything
something anywhere about regarding concerning enough sufficient specific relevant need more exist there silent outside
beyond unclear unknown lack lacking scope yet given share available present centre center record whether list part
nothing none insufficient unable never
finde finden gefunden steht stehen sagen beantworten entnehmen enthalten enthält erwähnt erwähnen angegeben hervor geht
dazu davon darüber zu ob diese dieser dieses vorliegen vorliegend vorliegenden bekannt lässt habe nichts kannst können
genannt angabe sich daraus
trouve trouvé précise précisent mentionne mentionnent contient contiennent dispose permet répondre sujet fourni fournis
rien dit disent pouvez si cela
encontrado encuentro encuentra menciona mencionan responder dispongo tengo eso esa disponible sobre nada dice dicen
trovo niente trovato disponibile contengono contiene questa questo
staat gevonden deze dit vinden niets
encontrei encontro essa esse nos contém disponível
"""
_POLITE = """
sorry unfortunately regrettably afraid hmm apology however based malheureusement désolé leider siento purtroppo helaas
infelizmente tut
"""
_SPEAKER = re.compile(r"\b(?:i|ich|mir|je|yo|io|ik|eu)\b|\bj'", re.IGNORECASE)
_I_FIND = frozenset({"encuentro", "trovo", "encontrei"})
"""Verbs that say who speaks."""
NEAR = 4
"""Words between the speaker and what it does not know, at the most."""
_KNOWING = """
know find found say tell answer respond sagen finde gefunden beantworten sais trouve trouvé répondre
encontrado encuentro responder trovo trovato vinden gevonden encontrei encontro
"""


def _norms(text: str) -> frozenset[str]:
    return frozenset(token.norm for token in tokens(text))


_OF_SOURCES, _OF_KNOWING = _norms(_SOURCES), _norms(_KNOWING)
_OF_SUCH = _OF_SOURCES | _OF_KNOWING | _norms(f"{_TELLING} {_POLITE}") | SMALL_TALK | NEGATIONS


def untold(sentence: str, query: str) -> bool:
    """Whether the sentence says that what was asked is not told, and nothing else.

    Args:
        sentence: One sentence of an answer.
        query: What was asked: its words are nothing new, and its "documents" are no sources.
    """
    plain = sentence.casefold()
    words = tokens(sentence)
    pairs = ((one.norm, other.norm) for one, other in pairwise(words))
    if _DENIES.search(plain) is None and not any(one in _NO and other in _OF_SUCH - _NO for one, other in pairs):
        return False
    asked = _norms(query)
    said = {token.norm for token in words}
    sources = (said & _OF_SOURCES) - asked
    speakers = [at for at, token in enumerate(words) if _SPEAKER.match(sentence, token.start)]
    knows = [at for at, token in enumerate(words) if token.norm in _OF_KNOWING]
    speaks = bool(said & _I_FIND) or any(abs(one - other) <= NEAR for one in speakers for other in knows)
    new = {token.norm for token in words if token.is_content} - _OF_SUCH - asked
    return len(words) <= LONGEST and bool(sources or speaks) and not new
