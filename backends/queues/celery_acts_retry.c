/* Failed jobs again. Dead letters go back as they are (celery_acts_gather.c); a result alone has to be made
 * into a message, which is possible only when it was written with result_extended. */
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "backends/queues/celery_acts_prepare.h"

void celery_look_results(struct celery_prepare *p)
{
    celery_prepare_fail(p, ERROR_UNSUPPORTED,
                        "Keep what fails in a list dlq:QUEUE (documentation: dead letters of Celery).",
                        "a result does not hold the message: its arguments and tenant are lost");
}

void celery_run_send(struct celery_step *own)
{
    celery_step_over(own);
}
