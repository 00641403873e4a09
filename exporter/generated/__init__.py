"""What is written from the declarations: IAM policies, metrics reference."""
