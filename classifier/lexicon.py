"""Generic English word lists that the surface features count.

Every list is written by hand from general knowledge; none is mined from a
data set, so the lists carry no prompt text. A word belongs to one list only:
a lookup then yields one index and the cost stays one dictionary read a word.
"""

CATEGORIES: dict[str, str] = {
    "asking": "what which who whom whose when where",
    "how_why": "how why",
    "personal": "i my me i'm i've i'd mine we our us you your hi hello hey thanks thank please",
    "explain": (
        "explain analyze analyse compare contrast evaluate discuss describe assess critique"
        " justify interpret argue examine investigate summarize summarise outline identify"
    ),
    "derive": (
        "prove proof derive calculate compute solve find determine simplify evaluate estimate"
        " show verify express factor integrate differentiate maximize minimize optimize"
    ),
    "build": (
        "write implement design create build develop generate refactor debug fix optimise"
        " convert translate rewrite draft compose modify extend configure deploy plan"
    ),
    "constraint": (
        "must should exactly least most only without each every ensure avoid required"
        " requirement requirements constraint constraints satisfy satisfying given following"
        " both unless maximum minimum limit within"
    ),
    "logic": (
        "if then therefore because suppose assume assuming thus hence implies statement"
        " statements conclusion premise argument valid invalid true false all none some"
        " either neither although whereas however"
    ),
    "negation": "not never no except cannot isn't doesn't don't won't can't incorrect least likely",
    "mathematics": (
        "equation equations integer integers triangle angle polynomial function functions"
        " probability matrix vector prime divisor radius circle square cube perimeter area"
        " volume sum product difference ratio remainder fraction digits digit sequence"
        " series derivative integral theorem graph coordinates plane modulo divisible"
        " positive negative real complex root roots value values sin cos tan log pi"
    ),
    "quantity": (
        "many much total times twice half double percent percentage per average cost costs"
        " price hours minutes days weeks years miles dollars cents kilometers meters feet"
        " pounds more less fewer remaining left altogether"
    ),
    "code": (
        "python java javascript typescript sql html css rust c++ c# bash linux docker api json"
        " xml regex code script class method string array list dictionary tuple loop database"
        " query server library algorithm return def import print const let var int float"
        " recursive thread async compile kubernetes git react pandas numpy excel"
    ),
    "law": (
        "plaintiff defendant court statute contract liability negligence testimony jury"
        " constitutional amendment law legal lawsuit judge attorney crime criminal property"
        " owner landowner deed evidence trial damages tort"
    ),
    "medicine": (
        "patient patients diagnosis symptoms disease treatment clinical blood pressure"
        " syndrome therapy physician infection tissue cell cells muscle nerve cancer chronic"
        " acute drug dose protein gene genes dna enzyme"
    ),
    "science": (
        "velocity acceleration mass force energy temperature voltage current circuit resistance"
        " molecule atom atoms electron reaction acid oxidation gas liquid heat wavelength"
        " frequency magnetic electric particle pressure density kg mol solution compound"
    ),
    "society": (
        "economic economy market demand supply inflation monetary policy government political"
        " philosopher theory moral ethics morally wrong psychology behavior cognitive"
        " historical century empire war religion society social international security"
    ),
    "stop": (
        "the a an of to and in is it that for on with as was are be this by at from or have has"
    ),
}

CATEGORY_NAMES: tuple[str, ...] = tuple(CATEGORIES)

# A word in two lists counts for the first. Keys are lower-case ASCII, as the
# features split words out of bytes.
WORD_TO_CATEGORY: dict[bytes, int] = {
    word.encode("ascii"): index
    for index, words in reversed(list(enumerate(CATEGORIES.values())))
    for word in words.split()
}
