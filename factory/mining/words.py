"""Word lists: small, fixed, in the languages that the miner reads (en, de, fr, es, it, nl, pt)."""

_STOP = """
a an the this that these those and or but if then than so as of at by for from in into on onto to with without
about over under up down out off is am are was were be been being do does did done have has had having will would
shall should can could may might must i me my mine we us our you your he him his she her it its they them their
what which who whom whose when where why how there here also just very not no nor yes s t n
ok well oh such some any each both more most other own same too only again while during between through because
der die das den dem des ein eine einer eines einem einen und oder aber ist sind war waren wird werden hat haben
nicht kein keine mit von zu zum zur auf für im bei ich du er sie es wir ihr
wie wer wen wem warum wieso weshalb welche welcher welches welchen wieviel viele mein meine dein
deine kann können muss soll darf dass auch noch nur sich nach über vor durch wenn gibt beim
le la les un une et ou est sont était du de des en dans sur pour par avec que qui ne pas je tu il elle nous vous
combien pourquoi quand où quel quelle quels quelles cette votre puis peut avoir été
el los las una y o es son era del al en por para con que no se su lo yo
cómo cuándo cuánto cuánta cuántos cuántas dónde quién qué cuál cuáles puedo puede tiene más este esta
il lo gli uno ed è sono di da nel nella per con che non si
dove quanto quanti quante quando quale quali perché posso può
het een en of zijn was van te op voor met dat die niet geen ik je hij we
wanneer waar wat welke waarom hoeveel kan mag moet mijn onze er bij naar uit ook nog maar
os um uma e ou são do da dos das em no na por para com que não se
quantos quantas onde quem qual quais porque pode seu sua
"""
_NEGATIONS = """
not no never none neither nor nobody nothing nowhere without cannot hardly unable
nicht kein keine keinen keiner nie niemals pas jamais aucun aucune nunca ningún ninguna non mai nessuno nessuna
niet geen nooit não nenhum nenhuma
"""
_ABBREVIATIONS = """
mr mrs ms dr prof st sr jr vs etc no nos vol fig al ca approx inc ltd co corp dept est rev gen gov sen
jan feb mar apr jun jul aug sep sept oct nov dec bzw evtl ggf nr str sog usw art pp cf eg ie
"""
_GENERIC = """
first second third last next new old good great best big small large long short high low early late main major
important different certain many much few most all every other another same part kind type way thing place time
year day month week date today now ago century age number amount total name title word call know mean meaning
term definition define say tell talk ask speak give get take make made put set let keep go come leave start begin
began end stop happen occur become find found look see watch show use work need want like try help play run live
stay move turn bring follow change add open close people person man woman men women child children guy someone
one two three group member family world country state city town area region side line point case fact reason
cause effect result purpose role difference example list question answer problem information movie film song
series book story game team season episode character band album version won win lose lost written write wrote
sing sang sung produce create form include contain consist base locate originate release company business
government law system process service product order cost price pay charge money account possible available able
allow require real full final original current recent modern famous popular
"""
_SMALL_TALK = """
hi hello hey thank thanks bye goodbye cheers please great cool nice good morning evening day
hallo danke bonjour merci hola gracias ciao grazie dank ola obrigado obrigada
"""

STOP_WORDS = frozenset(_STOP.split())
"""Function words: they carry nothing of the topic."""
NEGATIONS = frozenset(_NEGATIONS.split())
ABBREVIATIONS = frozenset(_ABBREVIATIONS.split())
"""Words whose full stop does not end a sentence."""
GENERIC = frozenset(_GENERIC.split())
"""English words that any question may hold, as they are written."""
SMALL_TALK = frozenset(_SMALL_TALK.split())
"""A query of nothing but these asks nothing."""
