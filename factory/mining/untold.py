"""Sentences that say nothing but that something is not told ("The manual says nothing about it"), however worded.

Phrases never end: so what counts is that a sentence denies, names its sources (or its speaker, who does not know), and
has no word of content beside those of the question and those that such sentences are made of. "Text messages are not
included" names no source when the question is about text messages.
"""

import re

from factory.mining.text import tokens
from factory.mining.words import NEGATIONS, SMALL_TALK

LONGEST = 40
"""Words of such a sentence at most."""
_DENIES = re.compile(
    r"\b(?:no|non|none|nothing|not|never|lacks?|lacking|silent|outside|beyond|unclear|unknown|insufficient|unable|"
    r"nichts|nicht|kein\w*|rien|pas|aucune?|nada|nessun\w*|niente|niet|niets|geen|não|nenhum\w*)\b|n't\b"
)
_SOURCES = """
context passage document documentation text excerpt source article information info snippet result material knowledge
base handbook manual leaflet guide page section detail data mention answer question help file paper recipe faq
kontext dokument dokumente dokumenten unterlagen texte texten quelle quellen auszüge auszügen information informationen
angaben abschnitt hinweise frage antwort auskunft
contexte documents passages textes extraits informations renseignement réponse
contexto documento documentos textos fragmentos información informacion datos respuesta pregunta
contesto documento documenti testo testi brani informazione informazioni risposta domanda
documenten bronnen tekst teksten informatie antwoord vraag
texto trechos informação informações resposta pergunta
"""
_TELLING = """
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
_SPEAKER = re.compile(
    r"\b(?:i|ich|mir|je|yo|io|ik|eu)\b|\bj'|\b(?:tengo|dispongo|sé|encuentro|trovo|tenho|encontrei)\b"
)
_KNOWING = """
know find found see saw say tell answer respond have sagen finde gefunden beantworten
sais trouve trouvé dispose répondre
encontrado encuentro responder dispongo tengo trovo trovato vinden gevonden encontrei encontro
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
    if _DENIES.search(plain) is None:
        return False
    words, asked = tokens(sentence), _norms(query)
    said = {token.norm for token in words}
    sources = (said & _OF_SOURCES) - asked
    speaks = _SPEAKER.search(plain) is not None and bool(said & _OF_KNOWING)
    new = {token.norm for token in words if token.is_content} - _OF_SUCH - asked
    return len(words) <= LONGEST and bool(sources or speaks) and not new
