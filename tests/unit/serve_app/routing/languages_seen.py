"""Texts as users write them, with the language that a person would say they are in."""

CLEAR = {
    "en": [
        "How do I reset my password?",
        "list the open tickets of customer 42",
        "Fix the failing test in parser.py",
        "What's the weather in Paris tomorrow?",
        "Summarize the email from Herr Müller about the Rechnung",
    ],
    "de": [
        "Wie setze ich mein Passwort zurück?",
        "Zeig mir alle offenen Rechnungen von Kunde 42",
        "Bitte fasse diesen Vertrag zusammen",
        "Kannst du den Test in parser.py reparieren?",
    ],
    "fr": [
        "Comment réinitialiser mon mot de passe ?",
        "Montre-moi les factures impayées du client 42",
        "Résume ce contrat s'il te plaît",
    ],
    "es": [
        "¿Cómo restablezco mi contraseña?",
        "Muéstrame las facturas pendientes del cliente 42",
    ],
    "it": ["Come posso reimpostare la mia password?", "Riassumi questo contratto per favore"],
    "pt": ["Como redefino a minha senha?", "Mostre as faturas em aberto do cliente 42"],
    "nl": ["Hoe stel ik mijn wachtwoord opnieuw in?", "Vat dit contract samen alsjeblieft"],
    "pl": ["Jak zresetować moje hasło?", "Pokaż nieopłacone faktury klienta 42"],
    "sv": ["Hur återställer jag mitt lösenord?", "Visa alla obetalda fakturor för kund 42"],
    "cs": ["Jak obnovím své heslo?"],
    "hu": ["Hogyan állíthatom vissza a jelszavamat?"],
    "el": ["Πώς επαναφέρω τον κωδικό μου;"],
    "ja": ["パスワードをリセットするにはどうすればいいですか?"],
}

UNCLEAR = [
    "ok",
    "merci",
    "danke",
    "go on",
    "1+1",
    "def foo(x):\n    return x + 1\n\nclass Bar: pass",
    '{"id": 42, "name": "Müller", "city": "Köln"}',
    "const x = await fetch(url).then(r => r.json())",
    "kubectl get pods -n kube-system",
    "curl -X POST https://api.example.com/v1/users",
    "SELECT id, name FROM customers WHERE region = 'EU' ORDER BY name",
    "npm ERR! code ELIFECYCLE",
    "add unit tests",
    "vim config",
]
