"""The hub (情報提供ネットワークシステム): decides by law, makes the first conversion, sequences the record, passes permits on.

What always holds: it never sees a number or an attribute of anyone, nor an answer; a permit leaves only after its round is durable
here and at the commission, under both signatures; one round is under way at a time. Called by every institution, over the post.

``sequencer`` is the way of a round; ``service`` its life, recovery and calls.
"""
