"""The catalogue (公共サービス情報連携基盤): what words mean, what data there is, who holds it, and what anybody may have.

``registry`` knows which body answers which item, how fresh and how well · ``rdf`` says vocabulary and catalogue in the world's terms (SKOS,
DCAT 3) · ``api`` and ``pages`` show them · ``service`` is its life.

What always holds: it is public, so nothing that says anything about a person ever reaches it; what the law says (terms, specifications, who
may ask) it reads from the record, and only what bodies say of themselves from them.
"""
