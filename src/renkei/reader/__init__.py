"""The reader program: on a resident's own machine, asks for their card and PIN when a web page wants authentication or a signature.

What always holds: it answers this machine alone; who asks is what the browser says (Origin), stands on the page and in what is signed, and
gets an answer at its own address only; nothing is signed that was not shown and confirmed with the PIN; the PIN goes to the card alone.
Called by browsers; speaks to the card.
"""
