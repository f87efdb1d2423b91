"""What other programs wrote, made into stores."""
