"""The report card: who is asked, what is asked, how it is judged and counted."""
