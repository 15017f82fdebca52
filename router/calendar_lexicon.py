"""Words by which dates, times and counters are known in a prompt, in small letters.

What is missing here makes a session of its own for each turn; what is too much makes two
prompts one that differ in such a word beside a number.
"""

from __future__ import annotations


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


WEEKDAYS = _set(
    "monday tuesday wednesday thursday friday saturday sunday"
    " mon tue tues wed thu thur thurs fri"  # codespell:ignore
    " sat sun montag dienstag mittwoch donnerstag freitag samstag sonnabend sonntag lundi mardi"
    " mercredi jeudi vendredi samedi dimanche lunes martes miércoles jueves viernes sábado domingo"
    " lunedì martedì mercoledì giovedì venerdì sabato domenica segunda-feira terça-feira"
    " quarta-feira quinta-feira sexta-feira maandag dinsdag woensdag donderdag vrijdag zaterdag"
    " zondag"
)
MONTHS = _set(
    "january february march april may june july august september october november december jan feb"
    " mar apr jun jul aug sep sept oct nov dec"
    " januar februar märz mai juni juli oktober dezember"  # codespell:ignore
    " janvier février mars avril juin juillet août septembre octobre novembre décembre enero"
    " febrero marzo abril mayo junio julio agosto septiembre octubre noviembre diciembre gennaio"
    " febbraio aprile maggio giugno luglio settembre ottobre dicembre janeiro fevereiro março maio"
    " junho julho setembro outubro novembro dezembro januari februari maart mei augustus"
)
# Halves of a day and zones.
AFTER_A_TIME = _set(
    "am pm a.m p.m uhr utc gmt z cet cest bst est edt cst cdt mst mdt pst pdt ist jst kst aest aedt"
    " msk eet eest wet west hst akst akdt sgt hkt"
)
HALVES = _set("am pm a.m p.m uhr")
# What stands before or around a clock, and says nothing else.
LABEL = _set(
    "current currently today todays today's today\u2019s date dates date's time times now is are it"
    " it's the a an local utc datetime timestamp day days weekday of week year month timezone zone"
    " tz and at as last updated generated on server system user user's users user\u2019s clock for"
    " your this message sent request session started conversation began here epoch unix iso in"
    " hour fecha hora actual heute ist es datum uhrzeit aktuelle aktuelles"
)
# A weekday soon after one of them is today's.
DATED = _set("today todays today's today\u2019s weekday day now heute")
# Near a number: it counts something that goes on.
STATES = _set(
    "open opened used left remaining unread ahead behind changed modified staged untracked pending"
    " elapsed ago usage budget uptime spent consumed unsaved active online running queued cost"
    " credits balance"
)
# Before a number: it counts turns.
NUMBERED = _set("turn step message request trace nonce seq sequence iteration attempt week")
