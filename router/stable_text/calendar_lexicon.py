"""Words by which dates, times and counters are known in a prompt, in small letters.

What is missing here makes a session of its own for each turn; what is too much makes two
prompts one that differ in such a word beside a number.
"""

# ruff: noqa: RUF001  # letters of other alphabets are meant

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
    " zondag måndag tisdag onsdag torsdag fredag lördag söndag mandag tirsdag lørdag søndag"
    " poniedziałek wtorek środa czwartek piątek sobota niedziela"
    " понедельник вторник среда четверг пятница суббота воскресенье"
    " понеділок вівторок середа четвер п'ятниця субота неділя"
    " pazartesi salı çarşamba perşembe cuma cumartesi pazar"
)
MONTHS = _set(
    "january february march april may june july august september october november december jan feb"
    " mar apr jun jul aug sep sept oct nov dec"
    " januar februar märz mai juni juli oktober dezember"  # codespell:ignore
    " janvier février mars avril juin juillet août septembre octobre novembre décembre enero"
    " febrero marzo abril mayo junio julio agosto septiembre octubre noviembre diciembre gennaio"
    " febbraio aprile maggio giugno luglio settembre ottobre dicembre janeiro fevereiro março maio"
    " junho julho setembro outubro novembro dezembro januari februari maart mei augustus"
    " stycznia lutego marca kwietnia maja czerwca lipca sierpnia września października listopada"
    " grudnia января февраля марта апреля мая июня июля августа сентября октября ноября декабря"
    " січня лютого березня квітня травня червня липня серпня вересня жовтня листопада грудня"
    " ocak şubat mart nisan mayıs haziran temmuz ağustos eylül ekim kasım aralık maj augusti marts"
)
# Halves of a day and zones.
AFTER_A_TIME = _set(
    "am pm a.m p.m uhr utc gmt z cet cest bst est edt cst cdt mst mdt pst pdt ist jst kst aest aedt"
    " msk eet eest wet west hst akst akdt sgt hkt"
)
HALVES = _set("am pm a.m p.m uhr o'clock o\u2019clock")
# What stands before or around a clock, and says nothing else.
LABEL = _set(
    "current currently today todays today's today\u2019s date dates date's time times now is are it"
    " it's the a an local utc datetime timestamp day days weekday of week year month timezone zone"
    " tz and at as last updated generated on server system user user's users user\u2019s clock for"
    " your this message sent request session started conversation began here epoch unix iso in"
    " hour fecha hora actual heute ist es datum uhrzeit aktuelle aktuelles"
    " hoy oggi hoje aujourd'hui aujourd\u2019hui vandaag сегодня dzisiaj bugün idag г"
    " 今天是 今日は です 오늘은 입니다"
)
PARTS_OF_A_DAY = _set("morning afternoon evening night noon midnight")
# A label that one of the names above may follow, and nothing else in the sentence.
NAMES_A_DAY = _set("current today today's today\u2019s day weekday week month date time now")
# What in a line without a digit says that it may tell a day or an age; in parts, for capitals.
DAY_NAMES = (
    *("day", "Day", "onth", " ago", "eute", "hoy ", "Hoy ", "oggi", "Oggi", "hoje ", "Hoje "),
    *("andaag", "годня", "zisiaj", "ugün", "dag ", "ourd\u2019", "ourd'"),
)
# A weekday soon after one of them is today's.
DATED = _set(
    "today todays today's today\u2019s weekday day now heute hoy oggi hoje vandaag сегодня bugün"
    " aujourd'hui aujourd\u2019hui dzisiaj idag week"
)
UNITS = _set("second seconds minute minutes hour hours day days week weeks month months")
# Near a number: it counts something that goes on.
STATES = _set(
    "open opened used left remaining unread ahead behind changed modified staged untracked pending"
    " elapsed ago usage budget uptime spent consumed unsaved active online running queued cost"
    " credits balance battery"
)
# Before a number: it counts turns.
NUMBERED = _set(
    "turn step message messages request trace nonce seq sequence iteration attempt week far seed"
)
# Before letters and digits in a mix: an id that is made anew.
NAMED_ANEW = _set("request trace span nonce correlation seed message session conversation run")
# Before an id: whose it is, which stays.
OWNERS = _set(
    "user customer client account tenant member patient order organization organisation workspace"
    " project device"
)
