"""What tests share: traces, references written from the definitions, models with known laws."""
