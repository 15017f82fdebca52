"""`/v1/chat/ws`: chats over long-lived sockets, on the same pipeline as HTTP."""
