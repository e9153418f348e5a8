import sys
from tests.simulation.run import run
from tests.simulation.schedule import draw_schedule
import time,structlog,logging
structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
from collections import Counter
a,b=int(sys.argv[1]),int(sys.argv[2])
t=time.time(); c=Counter(); n=0
for s in range(a,b):
    log=[]
    try:
        r=run(draw_schedule(s),log=log)
        c.update(r.counts); c["jobs"]+=r.job_count; c["restores"]+=r.restores; c["h"]+=r.virtual_s/3600; c["commits"]+=r.commits;c["steps"]+=r.steps
        if b-a<5: print(r)
    except BaseException as e:
        print(s,type(e),str(e)[:300])
        if b-a==1:
            print("\n".join(l[:int(sys.argv[3])] for l in log[-60:])); print(str(e)); raise
print(time.time()-t, c)
