"""An engine that is another server: everything that speaks the OpenAI API, behind the protocol that engines have here."""
