/* SPDX-License-Identifier: MIT */
#ifndef FERRY_MAIL_LOG_H
#define FERRY_MAIL_LOG_H

#include "base/slice.h"
#include "mail/mail.h"

/*
 * A line of the log, as key=value or as one JSON object, made piece by piece. Whatever is put into
 * it, it is one line that a program can take apart: in text a value of other than plain characters
 * stands in quotes, with \" \\ and \xHH; in JSON bytes that are no UTF-8 become U+FFFD. What is too
 * long for its place is cut and ends in "..."; what has no room at all is left out whole.
 */

#define FERRY__LOG_LINE_MAX 3400 /* bytes; a pipe takes it whole, with what the program adds */
#define FERRY__LOG_VALUE_MAX 256 /* bytes of a value as it stands there */
#define FERRY__LOG_LIST_MAX 1000 /* of a list */

struct ferry__log_line {
    enum ferry_mail_log_format format;
    size_t len;
    char text[FERRY__LOG_LINE_MAX];
};

/* Begins with the time and the event, a word of ours. */
void ferry__log_begin(struct ferry__log_line *, enum ferry_mail_log_format, const char *event);

/* Names are words of ours. An empty value is left out. */
void ferry__log_text(struct ferry__log_line *, const char *name, struct ferry_slice value);
void ferry__log_z(struct ferry__log_line *, const char *name, const char *value); /* takes NULL */
/* One that may be as long as a list. */
void ferry__log_long(struct ferry__log_line *, const char *name, struct ferry_slice value);
void ferry__log_number(struct ferry__log_line *, const char *name, uint64_t);
void ferry__log_flag(struct ferry__log_line *, const char *name, bool); /* "yes", "no" */

/* A list (in text: of words with commas between them): opened, added to, closed, and nothing else
 * in between. Members that have no room are told by a last one, "...". */
struct ferry__log_list {
    size_t from; /* of the line */
    bool open, full;
    unsigned n;
};
void ferry__log_list_open(struct ferry__log_line *, struct ferry__log_list *, const char *name);
void ferry__log_list_add(struct ferry__log_line *, struct ferry__log_list *, struct ferry_slice);
void ferry__log_list_close(struct ferry__log_line *, struct ferry__log_list *);

/* Now is its time, and not when it was begun. */
void ferry__log_stamp(struct ferry__log_line *);

/* The line. It may be added to again, and ended again. */
struct ferry_slice ferry__log_end(struct ferry__log_line *);

#endif
