"""`halflife demo`: a real diary, remembered, faded, consolidated and partly forgotten."""
