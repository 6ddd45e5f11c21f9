"""The gateway (中間サーバー): an institution's own node, with which it asks and answers.

``desk`` asks (inquiries of clerks and systems) · ``answering`` answers permits from the body's own database through a declared mapping
(``adapter``) · ``batches`` asks for whole files · ``api`` is the REST interface, ``pages`` the clerk's inquiry desk.

What always holds: no permit, no answer; clerk, case and free text stay here; whether a person is unknown, withheld or without data,
the answer is byte for byte as long and takes the same way; an inquiry ends answered, refused or expired, never lost.
"""
