"""Everyday and complex requests in our own words, as templates with slots.

Slots stand in braces. No line comes from a data set: they are what support desks,
assistants and engineers' chats are about, written down.
"""


def _of(text: str) -> tuple[str, ...]:
    """The parts between commas."""
    return tuple(" ".join(part.split()) for part in text.split(","))


def _lines(text: str) -> tuple[str, ...]:
    """One template a line; deeper lines go on with the one above."""
    joined = text.replace("\n        ", " ")
    return tuple(line.strip() for line in joined.splitlines() if line.strip())


SLOTS: dict[str, tuple[str, ...]] = {
    "item": _of(
        """
        shoes, jacket, laptop, headphones, sofa, coffee machine, phone case, book, lamp,
        printer, bike, blender, monitor, dress, backpack, toaster
        """
    ),
    "service": _of(
        """
        subscription, premium plan, trial, membership, newsletter, insurance, phone
        contract, gym membership, internet plan, parking permit
        """
    ),
    "thing": _of(
        """
        account, password, email address, phone number, username, profile picture, delivery
        address, billing address, payment method, notification settings, language setting,
        security question, pin, invoice address
        """
    ),
    "place": _of(
        """
        Berlin, Chicago, Lagos, Madrid, Osaka, Toronto, Lisbon, Denver, Leeds, Mumbai, the
        airport, downtown, the city centre, the main station
        """
    ),
    "day": _of(
        """
        Monday, tomorrow, Friday, next week, Saturday, tonight, on Sunday, next month, the
        weekend, this afternoon, March 3rd, the 12th
        """
    ),
    "time": _of(
        """
        7 am, half past six, noon, 9:30, 5 pm, ten minutes, an hour, 8 tonight
        """
    ),
    "food": _of(
        """
        pasta, rice, chicken soup, pancakes, a banana, an avocado, lasagna, tofu, bread, a
        cup of coffee, eggs, salmon, hummus, an omelette
        """
    ),
    "lang": _of(
        """
        Spanish, French, Japanese, Italian, German, Portuguese, Korean, Dutch
        """
    ),
    "phrase": _of(
        """
        thank you, good morning, where is the bathroom, I am late, see you soon, cheers, how
        much is this, excuse me, happy birthday, no problem
        """
    ),
    "person": _of(
        """
        mom, my boss, Anna, the landlord, my team, the doctor, Sam, dad
        """
    ),
    "money": _of(
        """
        20 dollars, 50 euros, $130, a hundred pounds, 9.99, 300 bucks, 15 euros
        """
    ),
    "bank": _of(
        """
        card, debit card, credit card, savings account, checking account, transfer, direct
        debit, statement, loan, mortgage payment, top-up, cash withdrawal
        """
    ),
    "device": _of(
        """
        phone, laptop, tv, router, tablet, watch, printer, speaker, car
        """
    ),
    "topic": _of(
        """
        the news, football, cats, space, the weather, cooking, music, movies
        """
    ),
    "lang_code": _of(
        """
        Rust, C++, Go, Python, TypeScript, Java, Kotlin, Haskell, Scala
        """
    ),
    "system": _of(
        """
        a rate limiter, a message queue, a job scheduler, a key-value store, a URL
        shortener, a feature-flag service, a search index, a metrics pipeline, a chat
        backend, an event-sourced order system, a distributed cache, a booking system
        """
    ),
    "structure": _of(
        """
        an LRU cache, a B+ tree, a skip list, an interval tree, a bloom filter, a ring
        buffer, a trie with deletion, a persistent red-black tree, a work-stealing deque, a
        CRDT counter, a consistent-hash ring, a parser for JSON
        """
    ),
    "quality": _of(
        """
        exactly-once delivery, back-pressure, multi-tenant isolation, strict ordering,
        failover across regions, linearizable reads, idempotent retries, zero downtime, a 50
        ms latency budget, audit logging, schema evolution, graceful degradation
        """
    ),
    "maths": _of(
        """
        a continuous function on a compact set is uniformly continuous, the square root of 2
        is irrational, every finite integral domain is a field, the sum of the first n odd
        numbers is n squared, a tree on n vertices has n - 1 edges, the harmonic series
        diverges, every group of prime order is cyclic, a bounded monotone sequence
        converges, the eigenvalues of a symmetric matrix are real, n^5 - n is divisible by
        30
        """
    ),
    "derive": _of(
        """
        the heat equation, the Black-Scholes equation, the posterior of a normal mean, the
        closed form of ridge regression, the Euler-Lagrange equation, Bayes' rule, the
        gradient of softmax cross-entropy, the Schwarzschild radius, Kepler's third law, the
        variance of the sample median, the time complexity of union-find
        """
    ),
    "field": _of(
        """
        antitrust law, monetary policy, labour law, data protection law, urban planning,
        public health, climate policy, medical ethics, corporate governance, land reform,
        constitutional law, development economics, epidemiology, philosophy of mind
        """
    ),
    "pair": _of(
        """
        the French and the Russian revolutions, Kant and Hume on causation, TCP and QUIC,
        Keynesian and monetarist views of inflation, SQL and document stores, microservices
        and a modular monolith, Raft and Paxos, common law and civil law, frequentist and
        Bayesian inference, B-trees and LSM trees, Stoicism and Buddhism
        """
    ),
    "fault": _of(
        """
        memory grows until the process is killed, requests time out under load, two
        transactions deadlock, the p99 latency doubles every hour, a race loses updates,
        replication lag spikes at night, the cache serves stale rows, a query plan
        regressed, goroutines leak, TLS handshakes fail intermittently, the consumer falls
        behind
        """
    ),
    "patient": _of(
        """
        a 45-year-old man with chest pain, a child with fever and a rash, a pregnant woman
        with high blood pressure, an elderly patient with sudden confusion, a runner with
        calf swelling, a diabetic with a foot ulcer
        """
    ),
}

EVERYDAY: tuple[str, ...] = _lines(
    """
    where is my {item}
    when will the {item} arrive
    I want to return the {item}
    my {item} came broken, can I get a new one
    has my order for the {item} shipped yet
    can I exchange the {item} for a bigger size
    do you still have the {item} in stock
    how do I cancel my {service}
    please cancel my {service} starting {day}
    how much does the {service} cost
    can I pause the {service} for a month
    upgrade my {service} please
    how do I change my {thing}
    I forgot my {thing}
    update my {thing}
    can't log in, it says my {thing} is wrong
    delete my account please
    why was I charged {money}
    I was charged {money} twice
    send me the last invoice
    I need a refund of {money}
    what is this fee of {money}
    my {bank} was declined
    my {bank} has not shown up yet
    is there a limit on my {bank}
    block my {bank}, I lost it
    how long does a {bank} take
    what's the balance on my {bank}
    move {money} to savings
    I did not make this {bank}
    can I use my {bank} in {place}
    what is the exchange rate
    what time do you open {day}
    are you open {day}
    where is your nearest shop in {place}
    book a table for two {day} at {time}
    reserve a hotel room in {place} for {day}
    what's the weather in {place} {day}
    will it rain {day}
    do I need a coat {day}
    set an alarm for {time}
    remind me to call {person} {day}
    set a timer for {time}
    what's on my calendar {day}
    move my meeting with {person} to {day}
    play some music
    turn the volume down
    next song
    text {person} that I'm running late
    call {person}
    add {food} to my shopping list
    what's on my list
    how many calories are in {food}
    how do I cook {food}
    how long do I boil {food}
    what can I use instead of {food}
    how do you say {phrase} in {lang}
    translate {phrase} to {lang}
    what does that word mean
    how do you spell it
    what time is it in {place}
    how far is {place}
    directions to {place}
    how is the traffic to {place}
    when is the next train to {place}
    flights to {place} {day}
    how much is {money} in yen
    what's 15 percent of {money}
    how many ounces in a cup
    tell me a joke
    tell me something about {topic}
    how are you
    what's your name
    are you a person
    good morning
    thanks a lot
    ok great
    no, the other one
    yes please
    never mind
    can you repeat that
    speak louder
    talk to a human
    bye
    I need help
    my {device} won't turn on
    the {device} is not charging
    how do I reset my {device}
    my {device} is slow
    find my {device}
    connect my {device} to wifi
    flip a coin
    roll a dice
    when is my next payday
    how many vacation days do I have left
    I'd like to take {day} off
    how do I apply for a loan
    what's my credit score
    when is my bill due
    pay my bill
    order a new {bank}
    where do I see my rewards points
    what's the score of the game
    when does the game start {day}
    who sings this song
    suggest a restaurant in {place}
    is the restaurant in {place} any good
    what should I wear
    how old are you
    what can you do
    make it shorter
    change your language to {lang}
    write a short birthday card for {person}
    write a thank you note to {person}
    tell {person} I said hi
    how tall is the tower in {place}
    what year is it
    when do I need an oil change
    what is the tire pressure
    how much gas is left
    did my package to {place} go out
    I typed the wrong {thing}
    app keeps logging me out
    the link in the email does not work
    where do I enter the voucher code
    the code you sent me doesn't work
    can I pay by {bank}
    please update {person}'s {thing}
    """
)

COMPLEX: tuple[str, ...] = _lines(
    """
    Implement {structure} in {lang_code} and explain why it is correct under concurrency.
    Implement {structure} in {lang_code} with unit tests and state the complexity of each
        operation.
    Write {structure} in {lang_code}; then analyse its worst case and how you would benchmark
        it.
    Design {system} with {quality}; discuss the trade-offs and the failure modes.
    Design the schema and the API of {system} that needs {quality}, and say what you would
        test.
    Review this design of {system}: what breaks first under ten times the load, and why?
    How would you add {quality} to {system} without downtime? Give a migration plan in steps.
    Write {system} in {lang_code} with {quality}, including error handling and a test plan.
    Refactor {system} written in {lang_code} to allow {quality}, and justify each step.
    In our {lang_code} service {fault}. List hypotheses, the evidence for each, and how to
        tell.
    Find the root cause when {fault} in {system}, and propose a fix with its risks.
    Explain step by step how you would debug a case where {fault}.
    Prove that {maths}.
    Prove by induction or contradiction that {maths}, and generalise it.
    Show that {maths}; then say which assumption is essential and give a counterexample
        without it.
    Derive {derive} from first principles and state every assumption.
    Derive {derive}, then work through a numerical example.
    Compare {pair} in depth, with sources, and argue which is more convincing.
    Write a critical essay of 1,000 words on {pair}.
    Analyse the consequences of recent changes in {field} and propose three policy options.
    Critique the main arguments in {field} and construct the strongest objection to each.
    What is the differential diagnosis for {patient}, and which test would you order first and
        why?
    Discuss the management of {patient}, contraindications included.
    Write a SQL query that finds, for each customer, the longest gap between orders, and
        explain it.
    Design an A/B test with sequential stopping; compute the sample size and justify the
        correction.
    A bag has 5 red and 7 blue balls; three are drawn without replacement. Find the
        probability that at least two are red, and the expected number of red balls.
    Plan a project with six dependent tasks, three people and a deadline; find the critical
        path.
    Build a discounted cash flow model for a start-up with churn, and test its sensitivity.
    Draft a contract clause on liability under {field} and point out its weaknesses.
    Translate this algorithm from {lang_code} to {lang_code} and optimise its memory use.
    Write a compiler pass in {lang_code} that eliminates dead code, and prove that it
        terminates.
    Given the logs and metrics of {system}, write a post-mortem with a timeline and actions.
    Threat-model {system}: enumerate attackers, assets, and mitigations by severity.
    Explain {derive} to a graduate student and then to a ten-year-old.
    Solve the recurrence T(n) = 2 T(n/2) + n log n and verify the solution by substitution.
    Evaluate the integral of x^2 e^(-x) from 0 to infinity and generalise to x^n.
    Five people sit in a row; A is not beside B and C is left of D. How many orders are
        possible?
    Optimise this {lang_code} code for cache locality and explain each change: for i in
        range(n): ...
    Formulate the assignment of crews to flights as an integer program and suggest a
        relaxation.
    Assess the methodology of a study on {field}: confounders, power, and external validity.
    """
)
