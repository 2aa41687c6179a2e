"""Codes by words: which codes occur in the data, and what people call them.

words.py       a text as words, and how far two words are apart
coded.py       the coded columns of a view
counting.py    the codes of a relation's rows, and what changed rows do to them, as SQL
index.py       the counted codes of published views, kept in step by refreshes
synonyms.py    what people say and what displays say (synonyms.tsv)
reading.py     a text as ways to read it: words, beginnings, synonyms, typos
search.py      the best codes of the index for a reading
"""
