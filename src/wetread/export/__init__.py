"""How a report leaves the house: text, Markdown, HTML, PDF, FHIR, DICOM Structured Report and Encapsulated PDF."""
