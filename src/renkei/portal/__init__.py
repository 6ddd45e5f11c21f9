"""My Portal (マイ・ポータル), first sight: a resident sees who asked whom for what, when, why, and what came of it.

What always holds: the portal rebuilds the log from its leaf hashes and shows a record only with its proof; it holds codes of its own
domain and no number or attribute; a record whose code nobody here has is counted for the commission. Called by residents' browsers;
asks the hub and the commission.
"""
