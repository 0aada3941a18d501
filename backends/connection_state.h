/* The state of a connection to anything; a feed's state (feed.h) is apart from it. */
#ifndef BACKENDS_CONNECTION_STATE_H
#define BACKENDS_CONNECTION_STATE_H

enum connection_state { CONNECTION_IDLE, CONNECTION_CONNECTING, CONNECTION_UP, CONNECTION_DOWN };

#endif
