"""The Individual Number Card: the chip itself, and how it is spoken to.

``chip`` is a card in memory, ``virtual`` puts it into a PC/SC reader, ``client`` says what a program wants of a card in APDUs, ``reader``
carries these to whatever lies in a reader, real or not. The client knows nothing of the emulation.

What always holds: a key is used only after its PIN was given since the application was selected; a try is counted, durably, before the
PIN is compared; nothing but the issuer's authentication resets a counter or writes a file.
"""
