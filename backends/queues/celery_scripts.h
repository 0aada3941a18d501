/*
 * The scripts with which Celery's lists are changed, each atomic, each comparing before it sets, none of them
 * longer than some milliseconds (the caller bounds the elements of one call). Messages are moved, or compared
 * and replaced as a whole; nothing is decoded or encoded in Lua.
 */
#ifndef BACKENDS_QUEUES_CELERY_SCRIPTS_H
#define BACKENDS_QUEUES_CELERY_SCRIPTS_H

#include <stddef.h>

enum celery_script {
    /* A list is renamed to a hold list, with its note, and its oldest jobs go on as in the next one. KEYS:
     * live, hold, note, scratch, note beside, 4 targets, the hold lists of the group. ARGV: level, mask,
     * SHA-1 of each of the oldest, count of words, words of the note, words of the note beside. Returns
     * {"held", length of the hold list, how many of the mask were not there any more, and how many are dealt
     * with}, {"empty",
     * ...} or {"exists", ...}. */
    SCRIPT_HOLD,
    /* Somebody goes on with a hold list. KEYS: note. ARGV: owner, words. */
    SCRIPT_TAKE,
    /* The oldest jobs of the hold list go where the mask says: '0' back, '1' to '4' into KEYS[4 + n], 'x'
     * back and replaced. KEYS: live, hold, note, scratch, 4 targets, note beside, the hold lists of the
     * group. ARGV: owner, length expected, level, mask, then sha1 and message for each 'x'. Returns {"moved",
     * length of the hold list now, jobs that came in meanwhile, replaced}, {"taken"} or {"changed", length}.
     */
    SCRIPT_WALK,
    /* Back into the queue behind what waits: KEYS: from, live, note, the lists of the group. ARGV: at most so
     * many. Returns {moved, left}. */
    SCRIPT_RETURN,
    /* Back into the queue in front of what waits, which is exact however long it takes: the shorter list goes
     * to the longer one. KEYS and ARGV as before. Returns {1 when it is over, left}. */
    SCRIPT_RETURN_FIRST,
    /* Lists are renamed to trash. KEYS: note, then live and trash by turns. ARGV: words of the note. Returns
     * the lengths. */
    SCRIPT_PURGE,
    /* Lists set aside are removed for good. KEYS: note, lists. Returns the lengths, or {-1}: it is being
     * returned. */
    SCRIPT_EMPTY,
    /* Messages are replaced in place. KEYS: list. ARGV: span, then index, sha1, message for each. Returns
     * {shift, 1 or 0 for each}. */
    SCRIPT_REPLACE,
    /* One message is taken out near an end of a list. KEYS: list, target, note. ARGV: 1 (from the left) or
     * -1, how many are looked at, the message, LEFT or RIGHT (where it is put), words of the note. Returns 1
     * or 0. */
    SCRIPT_PICK,
    /* What a worker held goes back to run next. KEYS: unacked, index, queue. ARGV: tag, sha1 of the value,
     * message. Returns 1, 0 (gone) or -1 (changed). */
    SCRIPT_REQUEUE,
    /* A message made from a result is sent while the result is still that. KEYS: result, queue. ARGV: sha1 of
     * the result, message. Returns 1, 0 (gone) or -1 (changed). */
    SCRIPT_SEND,
    CELERY_SCRIPTS
};
/* "signalbox-walk", and its Lua for a server of that version (NULL: of today). */
const char *celery_script_name(enum celery_script script);
const char *celery_script_text(enum celery_script script, const char *version);
/* SHA-1 in 40 digits, as Redis knows scripts and as its sha1hex says it. Returns buffer. */
char *celery_digest(const void *bytes, size_t length, char buffer[41]);

#endif
