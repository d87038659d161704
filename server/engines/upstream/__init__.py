"""An engine that is another server: whatever speaks the OpenAI API, behind the protocol that engines have here."""
