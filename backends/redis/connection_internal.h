/* What connection.c and connection_open.c share. */
#ifndef BACKENDS_REDIS_CONNECTION_INTERNAL_H
#define BACKENDS_REDIS_CONNECTION_INTERNAL_H

#include <hiredis/hiredis.h>

#include "backends/redis/connection.h"
#include "backends/redis/dial.h"

enum { NAME_SIZE = 24 };

/* One command of a request. */
struct sent_command {
    char name[NAME_SIZE];
    struct error *refused; /* not on the list: never sent */
};

struct request {
    struct request *next;
    struct sent_command *commands;
    int count, at;
    char *wire; /* until it is written */
    size_t length;
    bool sent, rejected;
    double deadline_s, deadline_at;
    struct redis_handler handler;
};

struct redis_connection {
    struct loop *loop;
    struct redis_connection_options options;
    struct redis_url *url;
    char *up_place;
    enum connection_state state;
    struct error error;
    struct error first_error; /* of the first place, when all were tried */
    /* on the way */
    struct redis_dial *dial;
    size_t at_place;
    struct redis_address addresses[REDIS_DIAL_ADDRESSES];
    size_t address_count, at_address;
    char *password;
    bool connecting; /* the socket is not there yet */
    double begun_at, connect_until;
    bool waiting;   /* may not connect yet */
    int setup_left; /* replies of AUTH, SELECT, CLIENT SETNAME that are still to come */
    bool setup_auth, setup_select;
    /* up */
    redisContext *context;
    struct request *first, **last;
    char *patterns; /* the PSUBSCRIBE, as it is sent */
    size_t patterns_length;
    double heard_at;
    ev_io io;
    ev_timer tick;  /* deadlines, rejections */
    ev_timer retry; /* back-off */
    double back_off;
    bool broken; /* found while sending: ends in a later turn */
    int depth;   /* callbacks of ours that are running */
    bool doomed;
};

/* The connection is gone, or could not be made. */
void connection_lose(struct redis_connection *c, const struct error *error);
void connection_set_state(struct redis_connection *c, enum connection_state state);
void connection_arm_tick(struct redis_connection *c);
void connection_enter(struct redis_connection *c);
void connection_leave(struct redis_connection *c);
/* The tunnel knows better why it failed. */
void connection_blame(const struct redis_connection *c, double since, struct error *error);
/* NOAUTH, NOPERM and the like while it logs in: lost. */
void connection_refused(struct redis_connection *c, const redisReply *reply, const char *what);
/* Writing: false from flush means that it is broken. */
void connection_append(struct redis_connection *c, struct redis_command command);
bool connection_flush(struct redis_connection *c);
void connection_watch(struct redis_connection *c, int events);
/* It is logged in: what waits is sent. */
void connection_come_up(struct redis_connection *c);

/* connection_open.c: the way up. */
void connection_begin(struct redis_connection *c);
/* The socket can be written to: it is connected, or it failed. */
void connection_socket_ready(struct redis_connection *c);
void connection_take_setup(struct redis_connection *c, const redisReply *reply);
void connection_begin_too_late(struct redis_connection *c);
void connection_drop_socket(struct redis_connection *c);
void connection_wipe_password(struct redis_connection *c);

#endif
