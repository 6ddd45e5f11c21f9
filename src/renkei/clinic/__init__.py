"""A clinic's terminal: the patient's card is in its reader, the insurer is asked, and the screen says whether they are insured.

What always holds: nothing is asked about anyone whose card and PIN are not there; the history is fetched only after the patient ticked it,
which the card signs; without network a visit rests on a token of the insurer's, is marked so, and is looked at afterwards.
Called by the clinic's browser; asks the insurer.
"""
